use crate::array::Array;
use crate::dim::Dim;
use kernel::{Affine, Subscript};

op! {
    /// The same elements in the same order with other dims.
    "reshape" = Reshape(x) { shape: Vec<Dim> } kind Element
}

/// Consecutive axes of both sides that hold the same elements.
struct Group {
    from: std::ops::Range<usize>,
    to: std::ops::Range<usize>,
}

/// The finest matching groups of axes: whichever side's product is the smaller factor grows, until both agree.
fn groups(from: &[Dim], to: &[Dim]) -> Option<Vec<Group>> {
    let mut groups = vec![];
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let start = (i, j);
        let (mut left, mut right) = (Dim::int(1), Dim::int(1));
        while left != right || (i, j) == start {
            let left_is_behind = right.div(&left).is_some_and(|q| q.is_integral() && q != Dim::int(1));
            if i < from.len() && (left_is_behind || j == to.len() || (i, j) == start) {
                left = left * from[i].clone();
                i += 1;
            } else if j < to.len() {
                right = right * to[j].clone();
                j += 1;
            } else {
                return None;
            }
        }
        groups.push(Group { from: start.0..i, to: start.1..j });
    }
    Some(groups)
}

impl Reshape {
    /// Whether an index of the result gives one of the operand by sums and products alone: axes are only split.
    pub fn splits_only(&self, from: &[Dim]) -> bool {
        groups(from, &self.shape).is_some_and(|groups| {
            let one = Dim::int(1);
            groups.iter().all(|g| {
                let (real, parts) = (&from[g.from.clone()], &self.shape[g.to.clone()]);
                let real = real.iter().filter(|d| **d != one).count();
                let parts: Vec<&Dim> = parts.iter().filter(|d| **d != one).collect();
                real == 0 || real == 1 && parts.iter().skip(1).all(|d| d.as_int().is_some())
            })
        })
    }

    /// The index in the result of an element of the operand, where axes are only merged.
    pub fn merged(&self, from: &[Dim], at: &[Affine]) -> Option<Vec<Affine>> {
        let mut out = vec![Affine::default(); self.shape.len()];
        for group in groups(from, &self.shape)? {
            let real: Vec<usize> = group.from.clone().filter(|i| from[*i] != Dim::int(1)).collect();
            let parts: Vec<usize> = group.to.clone().filter(|j| self.shape[*j] != Dim::int(1)).collect();
            match (&real[..], &parts[..]) {
                ([], _) => {}
                (real, [part]) => {
                    for (n, axis) in real.iter().enumerate() {
                        if n > 0 {
                            out[*part] = out[*part].times(from[*axis].as_int()?);
                        }
                        out[*part] = out[*part].clone() + at[*axis].clone();
                    }
                }
                _ => return None,
            }
        }
        Some(out)
    }
}

impl super::Primitive for Reshape {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        let to = crate::TensorType::new(x.elem, self.shape.clone());
        if !to.is_countable() {
            return Err(crate::OpError::Condition(format!("{to} has more elements than any memory")));
        }
        match facts.eq(&x.elements(), &to.elements()) {
            crate::Verdict::Proved => Ok(vec![to]),
            _ => Err(crate::OpError::Elements { from: x.elements(), to: to.elements() }),
        }
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let shape = self.shape.iter().map(|d| super::size(d, sizes)).collect::<Result<_, _>>()?;
        Ok(vec![Array::new(x[0].elem, shape, x[0].data.clone())])
    }

    /// Where axes are only split, the index is affine. Merged axes need a quotient: then the lowering makes this a view.
    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let from = c.operands[0].dims.clone();
        let mut at: Vec<Subscript> = vec![Subscript::from(0); from.len()];
        for group in groups(&from, &self.shape)? {
            let real: Vec<usize> = group.from.clone().filter(|i| from[*i] != Dim::int(1)).collect();
            let parts: Vec<usize> = group.to.clone().filter(|j| self.shape[*j] != Dim::int(1)).collect();
            match (&real[..], &parts[..]) {
                ([], _) => {}
                ([axis], [part]) => at[*axis] = c.indices[*part].clone(),
                ([axis], parts) => {
                    let mut index = Affine::default();
                    for (n, part) in parts.iter().enumerate() {
                        if n > 0 {
                            index = index.times(self.shape[*part].as_int()?);
                        }
                        index = index + c.affine(*part)?;
                    }
                    at[*axis] = Subscript::Affine(index);
                }
                _ => return None,
            }
        }
        c.load(0, at)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::To(v.reshape(v.dy[0], v.dims(v.x[0])))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_matched_up() {
        let dims = |text: &str| -> Vec<Dim> {
            let dim = |w: &str| w.parse().map_or_else(|_| Dim::var(w), Dim::int);
            text.split_whitespace().map(dim).collect()
        };
        let of = |from: &str, to: &str| {
            let groups = groups(&dims(from), &dims(to))?;
            Some(groups.into_iter().map(|g| (g.from.len(), g.to.len())).collect::<Vec<_>>())
        };
        assert_eq!(of("B T 384", "B T 12 32"), Some(vec![(1, 1), (1, 1), (1, 2)]));
        assert_eq!(of("B 12 T 32", "B 12 T 32"), Some(vec![(1, 1); 4]));
        assert_eq!(of("B T 12 32", "B T 384"), Some(vec![(1, 1), (1, 1), (2, 1)]));
        assert_eq!(of("6 4", "4 6"), Some(vec![(2, 2)]));
    }
}

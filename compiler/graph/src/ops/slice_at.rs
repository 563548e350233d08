use super::indexed;
use crate::array::Array;
use crate::dim::Dim;
use kernel::{Binary, ExprId, Subscript};

op! {
    /// A part of `x` of these dims, from a place read from data: one index for each axis.
    "slice_at" = SliceAt(x, start) { size: Vec<Dim> } kind Element
}

/// `start` has one index for each axis of `x`, and a part of these dims fits into `x`.
pub(super) fn infer(
    x: &crate::TensorType,
    start: &crate::TensorType,
    size: &[Dim],
    facts: &crate::Facts,
) -> Result<(), crate::OpError> {
    indexed::integer(1, start)?;
    if start.dims != [Dim::int(x.rank() as i64)] {
        let text = format!("the start in {x} is an integer tensor of dims [{}], not {start}", x.rank());
        return Err(crate::OpError::Condition(text));
    }
    if size.len() != x.rank() {
        return Err(crate::OpError::Condition(format!("a part of {} axes of {x}", size.len())));
    }
    for (part, whole) in size.iter().zip(&x.dims) {
        if facts.le(part, whole) != crate::Verdict::Proved {
            return Err(crate::OpError::Condition(format!("cannot show that {part} <= {whole}, needed by the part")));
        }
    }
    Ok(())
}

/// The place that `start` names, if a part of this shape fits there.
pub(super) fn place(start: &Array, part: &[usize], whole: &[usize]) -> Result<Vec<usize>, crate::OpError> {
    let inside = start.data.iter().zip(part.iter().zip(whole)).all(|(s, (p, n))| *s >= 0.0 && *s as usize + p <= *n);
    match inside {
        true => Ok(start.data.iter().map(|s| *s as usize).collect()),
        false => {
            let text = format!("a part of shape {part:?} at {:?} of a tensor of shape {whole:?}", start.data);
            Err(crate::OpError::Condition(text))
        }
    }
}

impl super::Primitive for SliceAt {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, start] = super::take(x)?;
        infer(x, start, &self.size, facts)?;
        Ok(vec![crate::TensorType::new(x.elem, self.size.clone())])
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x0 = &x[0];
        let shape: Vec<usize> = self.size.iter().map(|d| super::size(d, sizes)).collect::<Result<_, _>>()?;
        let place = place(&x[1], &shape, &x0.shape)?;
        Ok(vec![Array::from_fn(x0.elem, shape, |index| {
            x0.at(&index.iter().zip(&place).map(|(i, s)| i + s).collect::<Vec<_>>())
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<ExprId> {
        let elem = c.operands[1].elem;
        let mut at = vec![];
        for axis in 0..self.size.len() {
            let index = c.affine(axis)?;
            let index = c.kernel.exprs.index(index, elem);
            let start = c.load(1, vec![Subscript::from(axis as i64)])?;
            at.push(Subscript::Data(c.binary(Binary::Add, start, index)));
        }
        c.load(0, at)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let zeros = v.full(0.0, v.x[0]);
        vec![crate::Grad::To(v.push(super::UpdateAt {}, &[zeros, v.x[1], v.dy[0]])), crate::Grad::Zero]
    }
}

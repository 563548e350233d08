use super::conv::kernel_gradient;
use super::same_dim;
use super::window::Axis;
use crate::array::{Array, each_index};
use crate::dim::Dim;
use crate::facts::Fact;
use kernel::{Affine, Combine, Literal, Subscript};

op! {
    /// What convolution does to gradients: each element of `x: [B, C, ..X]` adds its multiple of the kernel
    /// `w: [C, O / groups, ..K]` to a window of the result, `Y = (X - 1) * stride + dilation * (K - 1) + 1 - before - after`
    /// on each spatial axis.
    "conv_transpose" = ConvTranspose(x, w) {
        stride: Vec<i64>,
        pad: Vec<(i64, i64)>,
        dilation: Vec<i64> = vec![],
        groups: i64 = 1,
    } kind Element
}

impl ConvTranspose {
    fn axes(&self) -> Vec<Axis> {
        let dilation = |i| self.dilation.get(i).copied().unwrap_or(1);
        let axis = |i| Axis { stride: self.stride[i], pad: self.pad[i], dilation: dilation(i) };
        (0..self.stride.len()).map(axis).collect()
    }

    /// Dims of the result.
    fn out(&self, x: &[Dim], w: &[Dim]) -> Vec<Dim> {
        let mut dims = vec![x[0].clone(), w[1].times(self.groups)];
        for (i, axis) in self.axes().iter().enumerate() {
            let one = Dim::int(1);
            let starts = (x[i + 2].clone() - one.clone()).times(axis.stride);
            let reach = (w[i + 2].clone() - one.clone()).times(axis.dilation);
            dims.push(starts + reach + one - Dim::int(axis.pad.0) - Dim::int(axis.pad.1));
        }
        dims
    }
}

impl super::Primitive for ConvTranspose {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, w] = super::take(x)?;
        super::elementwise::Takes::Float.check(0, x)?;
        if x.elem != w.elem {
            return Err(crate::OpError::Elem { operand: 1, expected: x.elem.to_string(), got: w.elem });
        }
        let spatial = self.stride.len();
        for (operand, ty) in [x, w].into_iter().enumerate() {
            if ty.rank() != spatial + 2 {
                return Err(crate::OpError::Rank { operand, expected: (spatial + 2).to_string(), got: ty.rank() });
            }
        }
        if self.pad.len() != spatial || !(self.dilation.is_empty() || self.dilation.len() == spatial) {
            return Err(crate::OpError::Condition("stride, pad and dilation have one item for each spatial axis".into()));
        }
        if self.stride.iter().chain(&self.dilation).any(|n| *n < 1) || self.groups < 1 {
            return Err(crate::OpError::Condition("strides, dilations and groups are at least 1".into()));
        }
        same_dim(1, &x.dims[1], &w.dims[0], facts)?;
        let divides = Fact::Divides { divisor: Dim::int(self.groups), of: w.dims[0].clone() };
        if facts.holds(&divides) != crate::Verdict::Proved {
            let text = format!("cannot show that {} groups divide {} inputs", self.groups, w.dims[0]);
            return Err(crate::OpError::Condition(text));
        }
        let out = self.out(&x.dims, &w.dims);
        if let Some(n) = out[2..].iter().find(|n| facts.le(&Dim::int(1), n) == crate::Verdict::Refuted) {
            return Err(crate::OpError::Condition(format!("padding leaves {n} elements")));
        }
        Ok(vec![crate::TensorType::new(x.elem, out)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (x, w) = (&x[0], &x[1]);
        let dims = |a: &Array| a.shape.iter().map(|n| Dim::int(*n as i64)).collect::<Vec<_>>();
        let shape = self.out(&dims(x), &dims(w)).iter().map(|n| n.as_int().unwrap_or(0).max(0) as usize).collect();
        let mut out = Array::from_fn(x.elem, shape, |_| 0.0);
        let inputs = x.shape[1] / self.groups as usize;
        each_index(&x.shape, |index| {
            let first = index[1] / inputs * w.shape[1];
            each_index(&w.shape[1..], |k| {
                let mut at = vec![index[0] as i64, (first + k[0]) as i64];
                at.extend(self.axes().iter().enumerate().map(|(i, axis)| {
                    index[i + 2] as i64 * axis.stride + k[i + 1] as i64 * axis.dilation - axis.pad.0
                }));
                if out.get(&at).is_some() {
                    let at = out.offset(&at.iter().map(|i| *i as usize).collect::<Vec<_>>());
                    out.data[at] += x.at(index) * w.at(&[&[index[1]], k].concat());
                }
            });
        });
        Ok(vec![out])
    }

    /// With stride 1 an element of the result finds those of `x` by sums; with others it needs quotients.
    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let (x, w) = (&c.operands[0], &c.operands[1]);
        let depthwise = self.groups > 1;
        if self.stride.iter().any(|s| *s != 1) || depthwise && w.dims[..2] != [Dim::int(self.groups), Dim::int(1)] {
            return None;
        }
        let spatial = self.stride.len();
        let zero = Literal::of(x.elem, 0.0);
        // Depthwise, the one channel is that of the result.
        let skipped = depthwise as usize;
        let names: Vec<&str> = ["c", "u", "v", "w"].into_iter().take(spatial + 1).skip(skipped).collect();
        let dims = [&w.dims[..1], &w.dims[2..]].concat().split_off(skipped);
        let out: Vec<Affine> = (0..spatial).map(|i| c.affine(i + 2)).collect::<Option<_>>()?;
        c.reduce(Combine::Sum, &names, &dims, |c, k| {
            let (channel, taps) = match depthwise {
                true => (c.indices[1].clone(), k),
                false => (Subscript::Affine(k[0].clone()), &k[1..]),
            };
            let mut at = vec![c.indices[0].clone(), channel.clone()];
            at.extend(self.axes().iter().enumerate().map(|(i, axis)| {
                Subscript::Affine(out[i].clone().plus(&taps[i], -axis.dilation).offset(axis.pad.0))
            }));
            let output = if depthwise { Subscript::from(0) } else { c.indices[1].clone() };
            let taps = taps.iter().map(|a| Subscript::Affine(a.clone()));
            let tap = [channel, output].into_iter().chain(taps).collect();
            let (x, w) = (c.load_padded(0, at, zero)?, c.load(1, tap)?);
            Some(c.kernel.exprs.mul(x, w))
        })
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let ConvTranspose { stride, pad, dilation, groups } = self.clone();
        let dx = v.push(super::Conv { stride, pad, dilation, groups, apart: false }, &[v.dy[0], v.x[1]]);
        let dw = kernel_gradient(v, [v.dy[0], v.x[0]], &self.axes(), groups, &v.dims(v.x[1]));
        vec![crate::Grad::To(dx), crate::Grad::To(dw)]
    }

    fn tolerance(&self) -> f64 {
        2e-6
    }
}

use super::same_dim;
use crate::array::Array;
use crate::dim::Dim;
use kernel::{Compare, Literal, Subscript};
use tensor::Elem;

op! {
    /// Tensors one after another along an axis.
    "concat" = Concat(x) { axis: usize } kind Element
}

impl super::Primitive for Concat {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let Some((first, rest)) = x.split_first() else {
            return Err(crate::OpError::Condition("concat takes at least one tensor".into()));
        };
        super::axis_in_range(self.axis, first.rank())?;
        let mut ty = first.clone();
        for (n, other) in rest.iter().enumerate() {
            if other.elem != first.elem {
                return Err(crate::OpError::Elem { operand: n + 1, expected: first.elem.to_string(), got: other.elem });
            }
            if other.rank() != first.rank() {
                return Err(crate::OpError::Rank { operand: n + 1, expected: first.rank().to_string(), got: other.rank() });
            }
            for i in (0..first.rank()).filter(|i| *i != self.axis) {
                same_dim(i, &first.dims[i], &other.dims[i], facts)?;
            }
            ty.dims[self.axis] = ty.dims[self.axis].clone() + other.dims[self.axis].clone();
        }
        Ok(vec![ty])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let mut shape = x[0].shape.clone();
        shape[self.axis] = x.iter().map(|a| a.shape[self.axis]).sum();
        Ok(vec![Array::from_fn(x[0].elem, shape, |index| {
            let mut at = index.to_vec();
            let mut part = 0;
            while at[self.axis] >= x[part].shape[self.axis] {
                at[self.axis] -= x[part].shape[self.axis];
                part += 1;
            }
            x[part].at(&at)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let along = c.affine(self.axis)?;
        let mut start = Dim::int(0);
        let mut value = None;
        for operand in 0..c.operands.len() {
            let from = c.source.extent(c.kernel, &start);
            let mut at = c.indices.clone();
            at[self.axis] = Subscript::Affine(along.clone() - from.into());
            let zero = Literal::of(c.elem(), 0.0);
            let here = c.load_padded(operand, at, zero)?;
            value = Some(match value {
                None => here,
                Some(before) => {
                    let position = c.kernel.exprs.index(along.clone() - from.into(), Elem::I32);
                    let none = c.kernel.exprs.constant(Elem::I32, 0.0);
                    let earlier = c.compare(Compare::Lt, position, none);
                    c.kernel.exprs.select(earlier, before, here)
                }
            });
            start = start + c.operands[operand].dims[self.axis].clone();
        }
        value
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let mut start = Dim::int(0);
        let mut grads = vec![];
        for x in v.x {
            let stop = start.clone() + v.dims(*x)[self.axis].clone();
            grads.push(crate::Grad::To(v.slice(v.dy[0], self.axis, start, stop.clone())));
            start = stop;
        }
        grads
    }
}

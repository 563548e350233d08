use super::indexed;
use crate::array::Array;
use crate::dim::Dim;
use kernel::Subscript;

op! {
    /// Slices of `x` along an axis at places read from `i`, whose dims stand where the axis was.
    "take" = Take(x, i) { axis: usize = 0 } kind Element
}

impl super::Primitive for Take {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, i] = super::take(x)?;
        super::axis_in_range(self.axis, x.rank())?;
        indexed::integer(1, i)?;
        let dims = [&x.dims[..self.axis], &i.dims, &x.dims[self.axis + 1..]].concat();
        Ok(vec![crate::TensorType::new(x.elem, dims)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (x, i) = (&x[0], &x[1]);
        let shape = [&x.shape[..self.axis], &i.shape, &x.shape[self.axis + 1..]].concat();
        indexed::check(i, x.shape[self.axis])?;
        Ok(vec![Array::from_fn(x.elem, shape, |index| {
            let (a, rest) = index.split_at(self.axis);
            let (at_i, c) = rest.split_at(i.rank());
            let picked = i.at(at_i) as usize;
            x.at(&[a, &[picked], c].concat())
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let rank = c.operands[1].rank();
        let (a, rest) = c.indices.split_at(self.axis);
        let (at_i, tail) = rest.split_at(rank);
        let (a, at_i, tail) = (a.to_vec(), at_i.to_vec(), tail.to_vec());
        let picked = c.load(1, at_i)?;
        c.load(0, [a, vec![Subscript::Data(picked)], tail].concat())
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let (dims, picked) = (v.dims(v.x[0]), v.ty(v.x[1]).elements());
        let (before, after) = (&dims[..self.axis], &dims[self.axis + 1..]);
        // The picked axes as one, and the index of a slice for each of its elements.
        let slices = [before, &[picked.clone()], after].concat();
        let mut index = vec![Dim::int(1); dims.len()];
        index[self.axis] = picked;
        let i = v.expand(v.reshape(v.x[1], index), slices.clone());
        let zeros = v.full(0.0, v.x[0]);
        let scattered = v.push(super::ScatterAdd { axis: self.axis }, &[zeros, i, v.reshape(v.dy[0], slices)]);
        vec![crate::Grad::To(scattered), crate::Grad::Zero]
    }
}

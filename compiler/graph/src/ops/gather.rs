use super::indexed;
use crate::array::Array;
use kernel::Subscript;

op! {
    /// For each place, the element of `x` whose index along the axis is read from `i` at that place.
    "gather" = Gather(x, i) { axis: usize } kind Element
}

impl super::Primitive for Gather {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, i] = super::take(x)?;
        indexed::infer(x, i, self.axis, facts)?;
        Ok(vec![i.with_elem(x.elem)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (x, i) = (&x[0], &x[1]);
        indexed::check(i, x.shape[self.axis])?;
        Ok(vec![Array::from_fn(x.elem, i.shape.clone(), |index| {
            let mut at = index.to_vec();
            at[self.axis] = i.at(index) as usize;
            x.at(&at)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let picked = c.same(1)?;
        let mut at = c.indices.clone();
        at[self.axis] = Subscript::Data(picked);
        c.load(0, at)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let zeros = v.full(0.0, v.x[0]);
        let scattered = v.push(super::ScatterAdd { axis: self.axis }, &[zeros, v.x[1], v.dy[0]]);
        vec![crate::Grad::To(scattered), crate::Grad::Zero]
    }
}

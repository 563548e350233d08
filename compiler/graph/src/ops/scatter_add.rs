use super::indexed;
use crate::array::Array;

op! {
    /// `x` with each element of `y` added at the place whose index along the axis is read from `i`.
    "scatter_add" = ScatterAdd(x, i, y) { axis: usize } kind Scatter
}

impl super::Primitive for ScatterAdd {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, i, y] = super::take(x)?;
        super::elementwise::Takes::Number.check(0, x)?;
        indexed::infer_write(x, i, y, self.axis, facts)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        Ok(vec![indexed::write(&x[0], &x[1], &x[2], self.axis, |old, new| old + new)?])
    }

    fn routine(&self, x: &[crate::TensorType], _: &[crate::TensorType]) -> Option<super::Routine> {
        Some(indexed::routine(x, self.axis, 4))
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let read = v.push(super::Gather { axis: self.axis }, &[v.dy[0], v.x[1]]);
        vec![crate::Grad::To(v.dy[0]), crate::Grad::Zero, crate::Grad::To(read)]
    }

    fn tolerance(&self) -> f64 {
        2e-6
    }
}

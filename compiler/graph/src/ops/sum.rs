use super::reduce;
use kernel::Combine;

op! {
    /// Sum over axes. `keep` leaves axes of size 1.
    "sum" = Sum(x) { axes: Vec<usize>, keep: bool = false } kind Element
}

impl super::Primitive for Sum {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        reduce::infer(x, &self.axes, self.keep)
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        Ok(vec![reduce::eval(&x[0], &self.axes, self.keep, 0.0, |a, b| a + b)])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        reduce::compute(c, Combine::Sum, &self.axes, self.keep)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::To(v.spread(v.dy[0], &self.axes, v.dims(v.x[0])))]
    }

    fn tolerance(&self) -> f64 {
        2e-6
    }
}

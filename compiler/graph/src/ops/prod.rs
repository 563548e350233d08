use super::reduce;
use kernel::Combine;

op! {
    /// Product over axes; all of them if none is given. `keep` leaves axes of size 1.
    "prod" = Prod(x) { axes: Vec<usize>, keep: bool = false } kind Element
}

impl super::Primitive for Prod {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        reduce::infer(x, &self.axes, self.keep)
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        Ok(vec![reduce::eval(&x[0], &self.axes, self.keep, 1.0, |a, b| a * b)])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        reduce::compute(c, Combine::Prod, &self.axes, self.keep)
    }

    fn tolerance(&self) -> f64 {
        2e-6
    }
}

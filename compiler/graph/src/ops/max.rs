use super::reduce;
use kernel::Combine;

op! {
    /// Largest element over axes. `keep` leaves axes of size 1.
    ///
    /// Where there is a NaN the result is NaN by the interpreter, and NaN or the largest of other elements in compiled code.
    "max" = Max(x) { axes: Vec<usize>, keep: bool = false } kind Element
}

impl super::Primitive for Max {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        reduce::infer(x, &self.axes, self.keep)
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        Ok(vec![reduce::eval(&x[0], &self.axes, self.keep, f64::NEG_INFINITY, |a: f64, b: f64| if b.is_nan() || b > a { b } else { a })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        reduce::compute(c, Combine::Max, &self.axes, self.keep)
    }

    /// Equal elements share.
    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::To(reduce::shared(v, &self.axes))]
    }

    fn tolerance(&self) -> f64 {
        0.0
    }
}

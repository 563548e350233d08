use super::elementwise::{Takes, same_types, wrap};
use crate::array::Array;
use kernel::Binary;

op! {
    /// `x` over two to the `y`, towards minus infinity. `y` is at least 0 and below the bits of the type.
    /// Elementwise.
    "shift_right" = ShiftRight(x, y) {} kind Element
}

impl super::Primitive for ShiftRight {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, y] = super::take(x)?;
        Takes::Integer.check(0, x)?;
        same_types(x, y, facts)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let elem = x[0].elem;
        let bits = 8.0 * elem.size() as f64;
        if let Some(bad) = x[1].data.iter().find(|n| !(0.0..bits).contains(*n)) {
            return Err(crate::OpError::Condition(format!("a shift of {elem} by {bad} bits")));
        }
        let shift = |a: i64, b: u32| a.wrapping_shr(b);
        Ok(vec![x[0].zip(&x[1], elem, |a, b| wrap(elem, shift(a as i64, b as u32)))])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let (x, y) = (c.same(0)?, c.same(1)?);
        Some(c.binary(Binary::Shr, x, y))
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::Zero, crate::Grad::Zero]
    }
}

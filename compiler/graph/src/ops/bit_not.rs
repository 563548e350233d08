use kernel::Unary;
use tensor::Elem;

op! {
    /// Bitwise complement; on bool, negation. Elementwise.
    "bit_not" = BitNot(x) {} kind Element
}

impl super::Primitive for BitNot {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::elementwise::Takes::Bits.check(0, x)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        let elem = x[0].elem;
        Ok(vec![x[0].map(elem, |x| if elem == Elem::Bool { 1.0 - x } else { super::elementwise::wrap(elem, !(x as i64)) })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let x = c.same(0)?;
        Some(c.unary(Unary::Not, x))
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::Zero]
    }
}

use kernel::Binary;

op! {
    /// Remainder with the sign of `x`; elementwise.
    "rem" = Rem(x, y) {} kind Element
}

impl super::Primitive for Rem {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, y] = super::take(x)?;
        super::elementwise::Takes::Number.check(0, x)?;
        super::elementwise::same_types(x, y, facts)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        let elem = x[0].elem;
        let exact = |a: f64, b: f64| a % b;
        let by_zero = !elem.is_float() && x[1].data.contains(&0.0);
        if by_zero {
            return Err(crate::OpError::Condition("integer division by zero".into()));
        }
        Ok(vec![x[0].zip(&x[1], elem, |a, b| if elem.is_float() { exact(a, b) } else { exact(a, b).trunc() })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let (x, y) = (c.same(0)?, c.same(1)?);
        Some(c.binary(Binary::Rem, x, y))
    }

    /// `x - y trunc(x / y)`, the quotient constant
    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let (x, y, dy) = (v.x[0], v.x[1], v.dy[0]);
        let whole = v.div(v.sub(x, v.y[0]), y);
        vec![crate::Grad::To(dy), crate::Grad::To(v.neg(v.mul(dy, whole)))]
    }

    fn tolerance(&self) -> f64 {
        1.2e-7
    }
}

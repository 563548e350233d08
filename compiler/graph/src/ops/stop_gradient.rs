op! {
    /// The operand itself; a constant to the gradient.
    "stop_gradient" = StopGradient(x) {} kind Element
}

impl super::Primitive for StopGradient {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        Ok(vec![x[0].clone()])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        c.same(0)
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::Zero]
    }
}

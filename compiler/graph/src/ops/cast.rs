use tensor::Elem;

op! {
    /// The same values as another element type: floats to integers truncate, anything to bool is "not zero".
    "cast" = Cast(x) { to: Elem } kind Element
}

impl super::Primitive for Cast {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        Ok(vec![x.with_elem(self.to)])
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        Ok(vec![x[0].map(self.to, |v| match self.to {
            Elem::Bool => (v != 0.0) as i32 as f64,
            to if to.is_float() => v,
            _ => v.trunc(),
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let x = c.same(0)?;
        Some(c.kernel.exprs.cast(self.to, x))
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        match v.ty(v.x[0]).elem {
            from if from.is_float() && self.to.is_float() => vec![crate::Grad::To(v.push(Cast { to: from }, &[v.dy[0]]))],
            _ => vec![crate::Grad::Zero],
        }
    }

    fn tolerance(&self) -> f64 {
        6e-8
    }
}

op! {
    /// `x` where the condition holds, else `y`; elementwise.
    "where" = Where(condition, x, y) {} kind Element
}

impl super::Primitive for Where {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [condition, x, y] = super::take(x)?;
        if condition.elem != tensor::Elem::Bool {
            return Err(crate::OpError::Elem { operand: 0, expected: "bool".into(), got: condition.elem });
        }
        super::elementwise::same_types(x, y, facts)?;
        super::elementwise::same_types(&condition.with_elem(x.elem), x, facts)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        let data = (0..x[0].data.len()).map(|i| if x[0].data[i] != 0.0 { x[1].data[i] } else { x[2].data[i] });
        Ok(vec![crate::Array::new(x[1].elem, x[0].shape.clone(), data.collect())])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let (condition, x, y) = (c.same(0)?, c.same(1)?, c.same(2)?);
        Some(c.kernel.exprs.select(condition, x, y))
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let (condition, dy) = (v.x[0], v.dy[0]);
        let zero = v.full(0.0, dy);
        let (dx, dy) = (v.select(condition, dy, zero), v.select(condition, zero, dy));
        vec![crate::Grad::Zero, crate::Grad::To(dx), crate::Grad::To(dy)]
    }
}

use crate::array::Array;
use crate::dim::Dim;
use kernel::Literal;

op! {
    /// A tensor known when compiling.
    "constant" = Constant() { value: Array } kind Element
}

impl super::Primitive for Constant {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [] = super::take(x)?;
        let dims = self.value.shape.iter().map(|n| Dim::int(*n as i64)).collect();
        Ok(vec![crate::TensorType::new(self.value.elem, dims)])
    }

    fn eval(&self, _: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        Ok(vec![self.value.clone()])
    }

    /// One element is a literal; more of them are a buffer.
    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        match self.value.data[..] {
            [value] => Some(c.kernel.exprs.literal(Literal::of(self.value.elem, value))),
            _ => None,
        }
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![]
    }
}

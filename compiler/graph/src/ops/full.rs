use crate::array::Array;
use crate::dim::Dim;
use kernel::Literal;
use tensor::Elem;

op! {
    /// One value everywhere.
    "full" = Full() { shape: Vec<Dim>, value: f64, elem: Elem } kind Element
}

impl super::Primitive for Full {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [] = super::take(x)?;
        Ok(vec![crate::TensorType::new(self.elem, self.shape.clone())])
    }

    fn eval(&self, _: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let shape = self.shape.iter().map(|d| super::size(d, sizes)).collect::<Result<_, _>>()?;
        Ok(vec![Array::from_fn(self.elem, shape, |_| self.value)])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        Some(c.kernel.exprs.literal(Literal::of(self.elem, self.value)))
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![]
    }
}

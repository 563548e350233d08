use crate::array::Array;
use crate::dim::Dim;
use tensor::Elem;

op! {
    /// A size as a number.
    "dim" = DimValue() { value: Dim } kind Element
}

impl super::Primitive for DimValue {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [] = super::take(x)?;
        Ok(vec![crate::TensorType::new(Elem::I64, vec![])])
    }

    fn eval(&self, _: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        Ok(vec![Array::scalar(Elem::I64, super::size(&self.value, sizes)? as f64)])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let extent = c.source.extent(c.kernel, &self.value);
        Some(c.kernel.exprs.index(extent.into(), Elem::I64))
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![]
    }
}

use crate::array::Array;
use crate::dim::Dim;
use tensor::Elem;

op! {
    /// 0, 1, 2 … below `n`.
    "arange" = Arange() { n: Dim } kind Element
}

impl super::Primitive for Arange {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [] = super::take(x)?;
        Ok(vec![crate::TensorType::new(Elem::I32, vec![self.n.clone()])])
    }

    fn eval(&self, _: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let n = super::size(&self.n, sizes)?;
        Ok(vec![Array::from_fn(Elem::I32, vec![n], |index| index[0] as f64)])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let index = c.affine(0)?;
        Some(c.kernel.exprs.index(index, Elem::I32))
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![]
    }
}

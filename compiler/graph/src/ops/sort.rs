use super::order;
use crate::array::Array;
use tensor::Elem;

op! {
    /// The elements along an axis in order, and the indices they had. Equal elements stay in order; NaN counts as the
    /// largest.
    "sort" = Sort(x) { axis: usize, descending: bool = false } kind Library
}

impl super::Primitive for Sort {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::axis_in_range(self.axis, x.rank())?;
        Ok(vec![x.clone(), x.with_elem(Elem::I32)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        Ok(order::eval(&x[0], self.axis, self.descending, x[0].shape[self.axis]).into())
    }

    fn routine(&self, x: &[crate::TensorType], _: &[crate::TensorType]) -> Option<super::Routine> {
        Some(order::routine(&x[0], self.axis, self.descending, &x[0].dims[self.axis]))
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        order::vjp(v, self.axis)
    }
}

use super::order;
use crate::array::Array;
use crate::dim::Dim;
use tensor::Elem;

op! {
    /// The `k` largest elements along an axis, the largest first, and their indices. Of equal elements the first is
    /// taken first; NaN counts as the largest.
    "top_k" = TopK(x) { k: Dim, axis: usize } kind Library
}

impl super::Primitive for TopK {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::axis_in_range(self.axis, x.rank())?;
        for (a, b) in [(&Dim::int(0), &self.k), (&self.k, &x.dims[self.axis])] {
            if facts.le(a, b) != crate::Verdict::Proved {
                return Err(crate::OpError::Condition(format!("cannot show that {a} <= {b}, needed by top_k")));
            }
        }
        let mut ty = x.clone();
        ty.dims[self.axis] = self.k.clone();
        Ok(vec![ty.clone(), ty.with_elem(Elem::I32)])
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        Ok(order::eval(&x[0], self.axis, true, super::size(&self.k, sizes)?).into())
    }

    fn routine(&self, x: &[crate::TensorType], _: &[crate::TensorType]) -> Option<super::Routine> {
        Some(order::routine(&x[0], self.axis, true, &self.k))
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        order::vjp(v, self.axis)
    }
}

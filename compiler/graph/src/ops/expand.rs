use super::same_dim;
use crate::array::Array;
use crate::dim::Dim;
use kernel::Subscript;

op! {
    /// Repeats along axes of size 1 and along new leading axes.
    "expand" = Expand(x) { shape: Vec<Dim> } kind Element
}

impl super::Primitive for Expand {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        let Some(new) = self.shape.len().checked_sub(x.rank()) else {
            return Err(crate::OpError::Rank { operand: 0, expected: format!("at most {}", self.shape.len()), got: x.rank() });
        };
        for (i, dim) in x.dims.iter().enumerate().filter(|(_, d)| **d != Dim::int(1)) {
            same_dim(new + i, dim, &self.shape[new + i], facts)?;
        }
        Ok(vec![crate::TensorType::new(x.elem, self.shape.clone())])
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x = &x[0];
        let shape: Vec<usize> = self.shape.iter().map(|d| super::size(d, sizes)).collect::<Result<_, _>>()?;
        let new = shape.len() - x.rank();
        Ok(vec![Array::from_fn(x.elem, shape, |index| {
            let at: Vec<usize> = x.shape.iter().zip(&index[new..]).map(|(n, i)| if *n == 1 { 0 } else { *i }).collect();
            x.at(&at)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let new = self.shape.len() - c.operands[0].rank();
        let pick = |(i, dim): (usize, &Dim)| match *dim == Dim::int(1) {
            true => Subscript::from(0),
            false => c.indices[new + i].clone(),
        };
        let at = c.operands[0].dims.iter().enumerate().map(pick).collect();
        c.load(0, at)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let dims = v.dims(v.x[0]);
        let new = self.shape.len() - dims.len();
        let repeated = (0..self.shape.len()).filter(|i| *i < new || dims[i - new] == Dim::int(1));
        vec![crate::Grad::To(v.reshape(v.sum(v.dy[0], repeated.collect()), dims))]
    }
}

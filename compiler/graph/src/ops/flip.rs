use crate::array::Array;
use kernel::{Affine, Subscript};

op! {
    /// Reversed order along some axes.
    "flip" = Flip(x) { axes: Vec<usize> } kind Element
}

impl super::Primitive for Flip {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        self.axes.iter().try_for_each(|a| super::axis_in_range(*a, x.rank()))?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x = &x[0];
        Ok(vec![Array::from_fn(x.elem, x.shape.clone(), |index| {
            let mut at = index.to_vec();
            self.axes.iter().for_each(|a| at[*a] = x.shape[*a] - 1 - at[*a]);
            x.at(&at)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let mut at = c.indices.clone();
        for axis in &self.axes {
            let n = c.source.extent(c.kernel, &c.operands[0].dims[*axis]);
            at[*axis] = Subscript::Affine(Affine::from(n).offset(-1) - c.affine(*axis)?);
        }
        c.load(0, at)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::To(v.push(self.clone(), &[v.dy[0]]))]
    }
}

use crate::array::Array;
use kernel::Subscript;

op! {
    /// Axes in another order: axis `i` of the result is axis `order[i]` of `x`.
    "transpose" = Transpose(x) { order: Vec<usize> } kind Element
}

impl super::Primitive for Transpose {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        let mut sorted = self.order.clone();
        sorted.sort();
        if sorted != (0..x.rank()).collect::<Vec<_>>() {
            return Err(crate::OpError::Condition(format!("{:?} is not an order of {} axes", self.order, x.rank())));
        }
        Ok(vec![crate::TensorType::new(x.elem, self.order.iter().map(|a| x.dims[*a].clone()).collect())])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x = &x[0];
        let shape = self.order.iter().map(|a| x.shape[*a]).collect();
        Ok(vec![Array::from_fn(x.elem, shape, |index| {
            let mut at = vec![0; index.len()];
            self.order.iter().zip(index).for_each(|(a, i)| at[*a] = *i);
            x.at(&at)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let mut at: Vec<Subscript> = c.indices.clone();
        self.order.iter().enumerate().for_each(|(i, a)| at[*a] = c.indices[i].clone());
        c.load(0, at)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let mut back = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(i, axis)| back[*axis] = i);
        vec![crate::Grad::To(v.transpose(v.dy[0], back))]
    }
}

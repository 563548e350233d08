use super::same_dim;
use crate::array::Array;
use kernel::Subscript;

op! {
    /// For each place, the element of `x` whose index along the axis is read from `i` at that place.
    "gather" = Gather(x, i) { axis: usize } kind Element
}

impl super::Primitive for Gather {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, i] = super::take(x)?;
        super::axis_in_range(self.axis, x.rank())?;
        if !i.elem.is_int() {
            return Err(crate::OpError::Elem { operand: 1, expected: "an integer".into(), got: i.elem });
        }
        if i.rank() != x.rank() {
            return Err(crate::OpError::Rank { operand: 1, expected: x.rank().to_string(), got: i.rank() });
        }
        for a in (0..x.rank()).filter(|a| *a != self.axis) {
            same_dim(a, &x.dims[a], &i.dims[a], facts)?;
        }
        Ok(vec![i.with_elem(x.elem)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (x, i) = (&x[0], &x[1]);
        let limit = x.shape[self.axis];
        if let Some(bad) = i.data.iter().find(|v| !(0.0..limit as f64).contains(*v)) {
            return Err(crate::OpError::Condition(format!("index {bad} of an axis of {limit}")));
        }
        Ok(vec![Array::from_fn(x.elem, i.shape.clone(), |index| {
            let mut at = index.to_vec();
            at[self.axis] = i.at(index) as usize;
            x.at(&at)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let picked = c.same(1)?;
        let mut at = c.indices.clone();
        at[self.axis] = Subscript::Data(picked);
        c.load(0, at)
    }
}

use crate::array::Array;
use crate::dim::Dim;
use kernel::{Literal, Subscript};

op! {
    /// `before` and `after` more elements on each axis, all `value`. Negative amounts cut.
    "pad" = Pad(x) { before: Vec<i64>, after: Vec<i64>, value: f64 = 0.0 } kind Element
}

impl super::Primitive for Pad {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        if self.before.len() != x.rank() || self.after.len() != x.rank() {
            return Err(crate::OpError::Condition("before and after have one item for each axis".into()));
        }
        let more = self.before.iter().zip(&self.after).map(|(a, b)| Dim::int(a + b));
        let dims = x.dims.iter().cloned().zip(more).map(|(d, m)| d + m).collect();
        Ok(vec![crate::TensorType::new(x.elem, dims)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x = &x[0];
        let shape = (0..x.rank()).map(|i| (x.shape[i] as i64 + self.before[i] + self.after[i]).max(0) as usize);
        Ok(vec![Array::from_fn(x.elem, shape.collect(), |index| {
            let at: Vec<i64> = index.iter().zip(&self.before).map(|(i, b)| *i as i64 - b).collect();
            x.get(&at).unwrap_or(self.value)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let shift = |i: usize| Some(Subscript::Affine(c.affine(i)?.offset(-self.before[i])));
        let at = (0..self.before.len()).map(shift).collect::<Option<_>>()?;
        let value = Literal::of(c.elem(), self.value);
        c.load_padded(0, at, value)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let back = |amounts: &[i64]| amounts.iter().map(|n| -n).collect();
        let cut = Pad { before: back(&self.before), after: back(&self.after), value: 0.0 };
        vec![crate::Grad::To(v.push(cut, &[v.dy[0]]))]
    }
}

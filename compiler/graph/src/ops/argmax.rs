use crate::dim::Dim;
use tensor::Elem;

op! {
    /// Index of the first largest element along an axis; NaN counts as the largest.
    "argmax" = Argmax(x) { axis: usize } kind Structural
}

impl super::Primitive for Argmax {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [ty] = super::take(x)?;
        super::axis_in_range(self.axis, ty.rank())?;
        if facts.le(&Dim::int(1), &ty.dims[self.axis]) == crate::Verdict::Refuted {
            return Err(crate::OpError::Condition(format!("no element of {ty} is the largest along axis {}", self.axis)));
        }
        let reduced = super::reduce::infer(x, &[self.axis], false)?;
        Ok(vec![reduced[0].with_elem(Elem::I32)])
    }

    fn eval(&self, x: &[crate::Array], _: super::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
        let x = &x[0];
        if x.shape[self.axis] == 0 {
            return Err(crate::OpError::Condition("no element of an empty axis is the largest".into()));
        }
        let shape: Vec<usize> = x.shape.iter().enumerate().filter(|(i, _)| *i != self.axis).map(|(_, n)| *n).collect();
        let out = crate::Array::from_fn(Elem::I32, shape, |index| {
            let at = |i: usize| {
                let mut full = index.to_vec();
                full.insert(self.axis, i);
                x.at(&full)
            };
            let larger = |a: f64, b: f64| a > b || a.is_nan() && !b.is_nan();
            let best = (0..x.shape[self.axis]).fold(0, |best, i| if larger(at(i), at(best)) { i } else { best });
            best as f64
        });
        Ok(vec![out])
    }

    fn vjp(&self, _: &crate::Vjp) -> Vec<crate::Grad> {
        vec![crate::Grad::Zero]
    }
}

use super::indexed;
use crate::array::Array;
use tensor::Elem;

op! {
    /// `x` with the elements of `y` at the places whose index along the axis is read from `i`: in place of what is there
    /// (`set`, the last of several), or combined with it (`mul`, `min`, `max`).
    "scatter" = Scatter(x, i, y) { axis: usize, mode: String } kind Scatter
}

const MODES: [(&str, fn(f64, f64) -> f64); 4] =
    [("set", |_, new| new), ("mul", |old, new| old * new), ("min", f64::min), ("max", f64::max)];

impl Scatter {
    fn combine(&self) -> Result<fn(f64, f64) -> f64, crate::OpError> {
        let mode = MODES.iter().find(|(name, _)| *name == self.mode);
        mode.map(|(_, combine)| *combine).ok_or_else(|| crate::OpError::Attribute {
            name: "mode".into(),
            expected: "one of \"set\", \"mul\", \"min\" and \"max\"".into(),
        })
    }
}

impl super::Primitive for Scatter {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, i, y] = super::take(x)?;
        self.combine()?;
        indexed::infer_write(x, i, y, self.axis, facts)?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        Ok(vec![indexed::write(&x[0], &x[1], &x[2], self.axis, self.combine()?)?])
    }

    fn routine(&self, x: &[crate::TensorType], _: &[crate::TensorType]) -> Option<super::Routine> {
        let mode = MODES.iter().position(|(name, _)| *name == self.mode)?;
        Some(indexed::routine(x, self.axis, mode))
    }

    /// For `set`: `x` where nothing was written, `y` where it was written last.
    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        if self.mode != "set" {
            let none = crate::Grad::None("only mode \"set\" has one");
            return vec![none.clone(), crate::Grad::Zero, none];
        }
        let (x, i, dz) = (v.x[0], v.x[1], v.dy[0]);
        let dx = v.push(self.clone(), &[dz, i, v.full(0.0, v.x[2])]);
        // Each element of `y` writes its own number; where that is read back, it was the last.
        let numbers = v.indices(self.axis, i);
        let nobody = v.filled(-1.0, Elem::I32, v.dims(x));
        let read = |from| v.push(super::Gather { axis: self.axis }, &[from, i]);
        let last = v.eq(read(v.push(self.clone(), &[nobody, i, numbers])), numbers);
        vec![crate::Grad::To(dx), crate::Grad::Zero, crate::Grad::To(v.only(last, read(dz)))]
    }

    fn tolerance(&self) -> f64 {
        if self.mode == "mul" { 1.2e-7 } else { 0.0 }
    }
}

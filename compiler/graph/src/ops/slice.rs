use crate::array::Array;
use crate::dim::Dim;
use kernel::Subscript;

op! {
    /// Elements `start`, `start + step` … before `stop` of one axis.
    "slice" = Slice(x) { axis: usize, start: Dim, stop: Dim, step: i64 = 1 } kind Element
}

impl super::Primitive for Slice {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::axis_in_range(self.axis, x.rank())?;
        if self.step < 1 {
            return Err(crate::OpError::Condition("the step of a slice is at least 1".into()));
        }
        let inside = [(&Dim::int(0), &self.start), (&self.start, &self.stop), (&self.stop, &x.dims[self.axis])];
        for (a, b) in inside {
            if facts.le(a, b) != crate::Verdict::Proved {
                let text = format!("cannot show that {a} <= {b}, needed by the slice {}..{}", self.start, self.stop);
                return Err(crate::OpError::Condition(text));
            }
        }
        let mut ty = x.clone();
        let len = self.stop.clone() - self.start.clone();
        ty.dims[self.axis] = (len + Dim::int(self.step - 1)).floor_div(&Dim::int(self.step));
        Ok(vec![ty])
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x = &x[0];
        let (start, stop) = (super::size(&self.start, sizes)?, super::size(&self.stop, sizes)?);
        let mut shape = x.shape.clone();
        shape[self.axis] = (stop - start).div_ceil(self.step as usize);
        Ok(vec![Array::from_fn(x.elem, shape, |index| {
            let mut at = index.to_vec();
            at[self.axis] = start + at[self.axis] * self.step as usize;
            x.at(&at)
        })])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let mut at = c.indices.clone();
        let start = match c.source.extent(c.kernel, &self.start) {
            kernel::Extent::Const(n) => kernel::Affine::constant(n),
            kernel::Extent::Size(s) => kernel::Affine::size(s),
        };
        at[self.axis] = Subscript::Affine(c.affine(self.axis)?.times(self.step) + start);
        c.load(0, at)
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let size = v.dims(v.x[0])[self.axis].clone();
        let apart = v.interleave(v.dy[0], self.axis, self.step);
        let after = size - self.start.clone() - v.dims(apart)[self.axis].clone();
        vec![crate::Grad::To(v.surround(apart, self.axis, self.start.clone(), after))]
    }
}

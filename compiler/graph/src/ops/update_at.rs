use super::slice_at;
use crate::array::{Array, each_index};
use crate::dim::Dim;

op! {
    /// `x` with `y` in place of the part of its dims from a place read from data: one index for each axis.
    "update_at" = UpdateAt(x, start, y) {} kind Scatter
}

impl super::Primitive for UpdateAt {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, start, y] = super::take(x)?;
        slice_at::infer(x, start, &y.dims, facts)?;
        match x.elem == y.elem {
            true => Ok(vec![x.clone()]),
            false => Err(crate::OpError::Elem { operand: 2, expected: x.elem.to_string(), got: y.elem }),
        }
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (mut out, y) = (x[0].clone(), &x[2]);
        let place = slice_at::place(&x[1], &y.shape, &out.shape)?;
        each_index(&y.shape, |index| {
            let at = out.offset(&index.iter().zip(&place).map(|(i, s)| i + s).collect::<Vec<_>>());
            out.data[at] = y.at(index);
        });
        Ok(vec![out])
    }

    fn routine(&self, x: &[crate::TensorType], _: &[crate::TensorType]) -> Option<super::Routine> {
        let [x, start, y] = x else { return None };
        let numbers = [Dim::int(x.elem.size() as i64), super::elem_number(start.elem), Dim::int(x.rank() as i64)];
        let sizes = [&[Dim::int(1)], &numbers[..], &x.dims, &y.dims].concat();
        Some(super::Routine { name: "UpdateAt", sizes, work: x.elements().times(4) })
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        let (start, dz) = (v.x[1], v.dy[0]);
        let dx = v.push(UpdateAt {}, &[dz, start, v.full(0.0, v.x[2])]);
        let dy = v.push(super::SliceAt { size: v.dims(v.x[2]) }, &[dz, start]);
        vec![crate::Grad::To(dx), crate::Grad::Zero, crate::Grad::To(dy)]
    }
}

//! What operators share that read or write at places read from data.

use super::{Routine, axis_in_range, same_dim};
use crate::array::{Array, each_index};
use crate::dim::Dim;
use crate::error::OpError;
use crate::facts::Facts;
use crate::types::TensorType;

/// `i` holds indices along one axis of `x`; on the other axes both are of one size.
pub fn infer(x: &TensorType, i: &TensorType, axis: usize, facts: &Facts) -> Result<(), OpError> {
    axis_in_range(axis, x.rank())?;
    integer(1, i)?;
    if i.rank() != x.rank() {
        return Err(OpError::Rank { operand: 1, expected: x.rank().to_string(), got: i.rank() });
    }
    (0..x.rank()).filter(|a| *a != axis).try_for_each(|a| same_dim(a, &x.dims[a], &i.dims[a], facts))
}

/// `y` holds elements for `x` at the places that `i` names.
pub fn infer_write(x: &TensorType, i: &TensorType, y: &TensorType, axis: usize, facts: &Facts) -> Result<(), OpError> {
    infer(x, i, axis, facts)?;
    if y.elem != x.elem {
        return Err(OpError::Elem { operand: 2, expected: x.elem.to_string(), got: y.elem });
    }
    if y.rank() != x.rank() {
        return Err(OpError::Rank { operand: 2, expected: x.rank().to_string(), got: y.rank() });
    }
    (0..x.rank()).try_for_each(|a| same_dim(a, &i.dims[a], &y.dims[a], facts))
}

/// The routine that writes so, in a mode of its own counting: those of `scatter` in order, then sums.
pub fn routine(x: &[TensorType], axis: usize, mode: usize) -> Routine {
    let [tasks, n, inner] = super::around(&x[0].dims, axis);
    let elems = [super::elem_number(x[0].elem), super::elem_number(x[1].elem)];
    let sizes = [&[tasks], &elems[..], &[Dim::int(mode as i64), n, inner, x[1].dims[axis].clone()]].concat();
    let work = (x[0].elements() + x[2].elements()).times(16);
    Routine { name: "Scatter", sizes, work }
}

pub fn integer(operand: usize, i: &TensorType) -> Result<(), OpError> {
    match i.elem.is_int() {
        true => Ok(()),
        false => Err(OpError::Elem { operand, expected: "an integer".into(), got: i.elem }),
    }
}

/// Every index lies on an axis of this size.
pub fn check(i: &Array, limit: usize) -> Result<(), OpError> {
    match i.data.iter().find(|v| !(0.0..limit as f64).contains(*v)) {
        Some(bad) => Err(OpError::Condition(format!("index {bad} of an axis of {limit}"))),
        None => Ok(()),
    }
}

/// `x` with `combine(old, new)` at the places that `i` names, in the order of `y`'s elements.
pub fn write(
    x: &Array,
    i: &Array,
    y: &Array,
    axis: usize,
    combine: impl Fn(f64, f64) -> f64,
) -> Result<Array, OpError> {
    check(i, x.shape[axis])?;
    let mut out = x.clone();
    each_index(&i.shape, |index| {
        let mut at = index.to_vec();
        at[axis] = i.at(index) as usize;
        let offset = out.offset(&at);
        out.data[offset] = combine(out.data[offset], y.at(index));
    });
    Ok(out)
}

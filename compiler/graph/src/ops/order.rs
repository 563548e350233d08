//! What operators share that put elements in order.

use super::Routine;
use crate::array::Array;
use crate::dim::Dim;
use crate::gradient::{Grad, Vjp};
use crate::types::TensorType;
use std::cmp::Ordering;
use tensor::Elem;

/// Ascending, NaN behind all numbers.
fn ascending(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The first `count` elements along an axis in order, equal ones as they stand, and their indices.
pub fn eval(x: &Array, axis: usize, descending: bool, count: usize) -> [Array; 2] {
    let mut shape = x.shape.clone();
    shape[axis] = count;
    let mut values = Array::from_fn(x.elem, shape.clone(), |_| 0.0);
    let mut indices = Array::from_fn(Elem::I32, shape.clone(), |_| 0.0);
    let size = x.shape[axis];
    shape[axis] = 1;
    crate::array::each_index(&shape, |row| {
        let at = |i: usize| {
            let mut at = row.to_vec();
            at[axis] = i;
            at
        };
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|a, b| {
            let ascending = ascending(x.at(&at(*a)), x.at(&at(*b)));
            if descending { ascending.reverse() } else { ascending }
        });
        for (place, from) in order.into_iter().take(count).enumerate() {
            let offset = values.offset(&at(place));
            values.data[offset] = x.at(&at(from));
            indices.data[offset] = from as f64;
        }
    });
    [values, indices]
}

/// The routine that does this.
pub fn routine(x: &TensorType, axis: usize, descending: bool, count: &Dim) -> Routine {
    let [tasks, n, inner] = super::around(&x.dims, axis);
    let sizes = vec![tasks, super::elem_number(x.elem), Dim::int(descending as i64), n, inner, count.clone()];
    Routine { name: "Order", sizes, work: x.elements().times(1024) }
}

/// Each value's gradient goes to where the value was.
pub fn vjp(v: &Vjp, axis: usize) -> Vec<Grad> {
    let zeros = v.full(0.0, v.x[0]);
    vec![Grad::To(v.push(super::ScatterAdd { axis }, &[zeros, v.y[1], v.dy[0]]))]
}

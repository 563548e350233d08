//! What reductions over axes share.

use super::axis_in_range;
use crate::array::{Array, each_index};
use crate::compute::Compute;
use crate::dim::Dim;
use crate::error::OpError;
use crate::gradient::Vjp;
use crate::nodes::Value;
use crate::types::TensorType;
use kernel::{Combine, ExprId, Subscript};

pub fn infer(x: &[TensorType], axes: &[usize], keep: bool) -> Result<Vec<TensorType>, OpError> {
    let [x] = super::take(x)?;
    axes.iter().try_for_each(|a| axis_in_range(*a, x.rank()))?;
    let kept = x.dims.iter().enumerate().filter_map(|(i, d)| match axes.contains(&i) {
        false => Some(d.clone()),
        true => keep.then(|| Dim::int(1)),
    });
    Ok(vec![TensorType::new(x.elem, kept.collect())])
}

pub fn eval(x: &Array, axes: &[usize], keep: bool, init: f64, fold: impl Fn(f64, f64) -> f64) -> Array {
    let kept = |index: &[usize], one: usize| -> Vec<usize> {
        let kept = index.iter().enumerate().filter_map(|(i, n)| match axes.contains(&i) {
            false => Some(*n),
            true => keep.then_some(one),
        });
        kept.collect()
    };
    let shape = kept(&x.shape, 1);
    let mut out = Array::from_fn(x.elem, shape, |_| init);
    each_index(&x.shape, |index| {
        let at = out.offset(&kept(index, 0));
        out.data[at] = fold(out.data[at], x.at(index));
    });
    out
}

pub fn compute(c: &mut Compute, op: Combine, axes: &[usize], keep: bool) -> Option<ExprId> {
    let ty = &c.operands[0];
    let dims: Vec<Dim> = axes.iter().map(|a| ty.dims[*a].clone()).collect();
    let (rank, names) = (ty.rank(), vec!["r"; axes.len()]);
    c.reduce(op, &names, &dims, |c, reduced| {
        let mut outer = c.indices.iter();
        let at = (0..rank).map(|i| match axes.iter().position(|a| *a == i) {
            Some(r) => {
                if keep {
                    outer.next();
                }
                Subscript::Affine(reduced[r].clone())
            }
            None => outer.next().expect("one index for each axis that stays").clone(),
        });
        let at = at.collect();
        c.load(0, at)
    })
}

/// The gradient of a reduction that picks an element: elements equal to the result share what changes with it.
pub fn shared(v: &Vjp, axes: &[usize]) -> Value {
    let dims = v.dims(v.x[0]);
    let chosen = v.eq(v.x[0], v.spread(v.y[0], axes, dims.clone()));
    let chosen = v.only(chosen, v.full(1.0, v.x[0]));
    let count = v.reshape(v.sum(chosen, axes.to_vec()), v.dims(v.y[0]));
    v.mul(chosen, v.spread(v.div(v.dy[0], count), axes, dims))
}

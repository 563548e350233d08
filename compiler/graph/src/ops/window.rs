//! What operators share whose windows slide over padded axes.

use crate::dim::Dim;
use crate::error::OpError;
use crate::facts::{Facts, Verdict};
use crate::gradient::Vjp;
use crate::nodes::Value;

/// How windows move along one axis.
#[derive(Clone, Debug)]
pub struct Axis {
    pub stride: i64,
    pub pad: (i64, i64),
    pub dilation: i64,
}

impl Axis {
    /// From the first to the last element that a window of `k` elements sees.
    fn reach(&self, k: &Dim) -> Dim {
        (k.clone() - Dim::int(1)).times(self.dilation)
    }

    /// At least one window of `k` elements fits on an axis of `x`, as far as that can be told when compiling.
    pub fn fits(&self, x: &Dim, k: &Dim, facts: &Facts) -> Result<(), OpError> {
        match facts.le(&Dim::int(1), &self.count(x, k)) {
            Verdict::Refuted => {
                let (window, size) =
                    (self.reach(k) + Dim::int(1), x.clone() + Dim::int(self.pad.0) + Dim::int(self.pad.1));
                Err(OpError::Condition(format!("a window that spans {window} on an axis of {size}, padding included")))
            }
            _ => Ok(()),
        }
    }

    /// The number of windows of `k` elements on an axis of `x`.
    pub fn count(&self, x: &Dim, k: &Dim) -> Dim {
        let last = x.clone() + Dim::int(self.pad.0) + Dim::int(self.pad.1) - Dim::int(1) - self.reach(k);
        last.floor_div(&Dim::int(self.stride)) + Dim::int(1)
    }
}

/// For gradients with respect to what windows of `k` elements slide over, tensors of dims `x`: `dy` spread out so that
/// turned windows of stride 1 give back what each element has part in, and the padding that they need.
pub fn turned(v: &Vjp, dy: Value, axes: &[Axis], x: &[Dim], k: &[Dim]) -> (Value, Vec<Axis>) {
    let mut spread = dy;
    let mut back = vec![];
    for (i, axis) in axes.iter().enumerate() {
        spread = v.interleave(spread, i + 2, axis.stride);
        let len = v.dims(spread)[i + 2].clone();
        let before = axis.reach(&k[i]) - Dim::int(axis.pad.0);
        // Enough to get back to `x`; where that depends on sizes, enough for any remainder, to be cut off.
        let after = x[i + 2].clone() - len + Dim::int(axis.pad.0);
        let after = after.as_int().map_or_else(|| axis.reach(&k[i]) + Dim::int(axis.stride - 1), Dim::int);
        back.push(Axis { stride: 1, pad: (v.int(&before), v.int(&after)), dilation: axis.dilation });
    }
    (spread, back)
}

/// The padding after an axis for windows as far apart as the elements of `dy` were wide, so that there are `k` of them;
/// where that depends on sizes, at least so many.
pub fn crossed(axis: &Axis, x: &Dim, y: &Dim, k: &Dim) -> Axis {
    let len = (y.clone() - Dim::int(1)).times(axis.stride) + Dim::int(1);
    let after = len + axis.reach(k) - x.clone() - Dim::int(axis.pad.0);
    let pad = (axis.pad.0, after.as_int().unwrap_or(axis.pad.1));
    Axis { stride: axis.dilation, pad, dilation: axis.stride }
}

/// The first elements along the axes from the third on, to these dims.
pub fn cut(v: &Vjp, mut value: Value, dims: &[Dim]) -> Value {
    for (axis, dim) in dims.iter().enumerate().skip(2) {
        value = v.slice(value, axis, Dim::int(0), dim.clone());
    }
    value
}

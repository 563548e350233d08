use super::same_dim;
use super::window::{self, Axis};
use crate::array::{Array, each_index};
use crate::dim::Dim;
use crate::facts::Fact;
use crate::gradient::Vjp;
use crate::nodes::Value;
use kernel::{Affine, Combine, Literal, Subscript};

op! {
    /// Convolution of `x: [B, C, ..X]` with `w: [O, C / groups, ..K]`:
    /// `Y = (X + before + after - dilation * (K - 1) - 1) // stride + 1` on each spatial axis.
    ///
    /// With `apart` groups are an axis of their own: `x: [B, G, C, ..X]`, `w: [G, O, C, ..K]` and `[B, G, O, ..Y]`.
    /// Kernels need it so; models and gradients do without.
    "conv" = Conv(x, w) {
        stride: Vec<i64>,
        pad: Vec<(i64, i64)>,
        dilation: Vec<i64> = vec![],
        groups: i64 = 1,
        apart: bool = false,
    } kind Element
}

impl Conv {
    fn dilation(&self, axis: usize) -> i64 {
        self.dilation.get(axis).copied().unwrap_or(1)
    }

    fn axes(&self) -> Vec<Axis> {
        let axis = |i| Axis { stride: self.stride[i], pad: self.pad[i], dilation: self.dilation(i) };
        (0..self.stride.len()).map(axis).collect()
    }

    fn of_axes(axes: &[Axis], groups: i64) -> Conv {
        Conv {
            stride: axes.iter().map(|a| a.stride).collect(),
            pad: axes.iter().map(|a| a.pad).collect(),
            dilation: axes.iter().map(|a| a.dilation).collect(),
            groups,
            apart: false,
        }
    }

    /// The same with groups side by side on the axis of channels.
    fn joined(&self) -> Conv {
        Conv { apart: false, ..self.clone() }
    }

    /// `dy` spread out, convolved with the kernel turned around, inputs and outputs changing places.
    fn input_gradient(&self, v: &Vjp) -> Value {
        let (x, w) = (v.dims(v.x[0]), v.dims(v.x[1]));
        let (spread, axes) = window::turned(v, v.dy[0], &self.axes(), &x, &w[2..]);
        let turned = v.push(super::Flip { axes: (2..w.len()).collect() }, &[v.x[1]]);
        let turned = v.swap_channels(turned, 0, self.groups);
        window::cut(v, v.push(Conv::of_axes(&axes, self.groups), &[spread, turned]), &x)
    }
}

/// The gradient of a kernel of dims `w` that slid over `input` and met `output` there: one convolved with the other, batch
/// and channels changing places.
pub(super) fn kernel_gradient(
    v: &Vjp,
    [input, output]: [Value; 2],
    axes: &[Axis],
    groups: i64,
    w: &[Dim],
) -> Value {
    let (x, y) = (v.dims(input), v.dims(output));
    let crossed = |(axis, i): (&Axis, usize)| window::crossed(axis, &x[i], &y[i], &w[i]);
    let axes: Vec<Axis> = axes.iter().zip(2..).map(crossed).collect();
    let operands = [v.swap_channels(input, 1, groups), v.swap_channels(output, 0, 1)];
    let dw = v.push(Conv::of_axes(&axes, groups), &operands);
    let dims = [vec![w[1].clone(), w[0].clone()], w[2..].to_vec()].concat();
    v.swap_channels(window::cut(v, dw, &dims), 0, 1)
}

impl Conv {
    fn infer_apart(
        &self,
        x: &crate::TensorType,
        w: &crate::TensorType,
        facts: &crate::Facts,
    ) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let rank = self.stride.len() + 3;
        for (operand, ty, at) in [(0, x, 1), (1, w, 0)] {
            if ty.rank() != rank {
                return Err(crate::OpError::Rank { operand, expected: rank.to_string(), got: ty.rank() });
            }
            same_dim(at, &ty.dims[at], &Dim::int(self.groups), facts)?;
        }
        let join = |ty: &crate::TensorType, at: usize| {
            let mut dims = ty.dims.clone();
            let second = dims.remove(at + 1);
            dims[at] = dims[at].clone() * second;
            crate::TensorType::new(ty.elem, dims)
        };
        let mut types = super::Primitive::infer(&self.joined(), &[join(x, 1), join(w, 0)], facts)?;
        for ty in &mut types {
            ty.dims.splice(1..2, [Dim::int(self.groups), w.dims[1].clone()]);
        }
        Ok(types)
    }
}

/// The array with axis `at` and the one after it as one.
fn merged(x: &Array, at: usize) -> Array {
    let mut shape = x.shape.clone();
    let second = shape.remove(at + 1);
    shape[at] *= second;
    Array { shape, ..x.clone() }
}

impl super::Primitive for Conv {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x, w] = super::take(x)?;
        if self.apart {
            return self.infer_apart(x, w, facts);
        }
        super::elementwise::Takes::Float.check(0, x)?;
        if x.elem != w.elem {
            return Err(crate::OpError::Elem { operand: 1, expected: x.elem.to_string(), got: w.elem });
        }
        let spatial = self.stride.len();
        for (operand, ty) in [x, w].into_iter().enumerate() {
            if ty.rank() != spatial + 2 {
                return Err(crate::OpError::Rank { operand, expected: (spatial + 2).to_string(), got: ty.rank() });
            }
        }
        if self.pad.len() != spatial || !(self.dilation.is_empty() || self.dilation.len() == spatial) {
            return Err(crate::OpError::Condition("stride, pad and dilation have one item for each spatial axis".into()));
        }
        if self.stride.iter().chain(&self.dilation).any(|n| *n < 1) || self.groups < 1 {
            return Err(crate::OpError::Condition("strides, dilations and groups are at least 1".into()));
        }
        let divides = Fact::Divides { divisor: Dim::int(self.groups), of: w.dims[0].clone() };
        if facts.holds(&divides) != crate::Verdict::Proved {
            let text = format!("cannot show that {} groups divide {} outputs", self.groups, w.dims[0]);
            return Err(crate::OpError::Condition(text));
        }
        same_dim(1, &x.dims[1], &(w.dims[1].clone() * Dim::int(self.groups)), facts)?;
        let mut dims = vec![x.dims[0].clone(), w.dims[0].clone()];
        for (i, axis) in self.axes().iter().enumerate() {
            axis.fits(&x.dims[i + 2], &w.dims[i + 2], facts)?;
            dims.push(axis.count(&x.dims[i + 2], &w.dims[i + 2]));
        }
        Ok(vec![crate::TensorType::new(x.elem, dims)])
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let (x, w) = (&x[0], &x[1]);
        if self.apart {
            let mut y = self.joined().eval(&[merged(x, 1), merged(w, 0)], sizes)?;
            let groups = self.groups as usize;
            for y in &mut y {
                let outputs = y.shape[1] / groups;
                y.shape.splice(1..2, [groups, outputs]);
            }
            return Ok(y);
        }
        let spatial = self.stride.len();
        let mut shape = vec![x.shape[0], w.shape[0]];
        for i in 0..spatial {
            let n = self.axes()[i].count(&Dim::int(x.shape[i + 2] as i64), &Dim::int(w.shape[i + 2] as i64));
            shape.push(n.as_int().unwrap_or(0).max(0) as usize);
        }
        let per_group = w.shape[0] / self.groups as usize;
        let out = Array::from_fn(x.elem, shape, |index| {
            let group = index[1] / per_group;
            let mut sum = 0.0;
            each_index(&w.shape[1..], |k| {
                let mut at = vec![index[0] as i64, (group * w.shape[1] + k[0]) as i64];
                at.extend((0..spatial).map(|i| {
                    index[i + 2] as i64 * self.stride[i] + k[i + 1] as i64 * self.dilation(i) - self.pad[i].0
                }));
                let tap = w.at(&[&[index[1]], k].concat());
                sum += x.get(&at).unwrap_or(0.0) * tap;
            });
            sum
        });
        Ok(vec![out])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        let (x, w) = (&c.operands[0], &c.operands[1]);
        // The axis of channels, and axes before those that the reduction runs over.
        let at_channels = 1 + self.apart as usize;
        // One output channel to a group: the channel's index is affine. Others need a quotient.
        let channels = match self.groups {
            _ if self.apart => None,
            1 => None,
            groups if w.dims[0].as_int()? == groups => Some(w.dims[1].as_int()?),
            _ => return None,
        };
        let spatial = self.stride.len();
        let zero = Literal::of(x.elem, 0.0);
        let names: Vec<&str> = ["c", "u", "v", "w"].into_iter().take(spatial + 1).collect();
        let dims = w.dims[at_channels..].to_vec();
        let out: Vec<Affine> = (0..spatial).map(|i| c.affine(i + at_channels + 1)).collect::<Option<_>>()?;
        let group = c.affine(at_channels)?;
        c.reduce(Combine::Sum, &names, &dims, |c, k| {
            let channel = channels.map_or(k[0].clone(), |channels| group.times(channels).plus(&k[0], 1));
            let mut at = c.indices[..at_channels].to_vec();
            at.push(Subscript::Affine(channel));
            at.extend((0..spatial).map(|i| {
                let tap = out[i].times(self.stride[i]).plus(&k[i + 1], self.dilation(i));
                Subscript::Affine(tap.offset(-self.pad[i].0))
            }));
            let mut taps = c.indices[1..=at_channels].to_vec();
            taps.extend(k.iter().map(|a| Subscript::Affine(a.clone())));
            let padded = self.pad.iter().any(|p| *p != (0, 0));
            let x = if padded { c.load_padded(0, at, zero)? } else { c.load(0, at)? };
            let w = c.load(1, taps)?;
            Some(c.kernel.exprs.mul(x, w))
        })
    }

    fn vjp(&self, v: &Vjp) -> Vec<crate::Grad> {
        if self.apart {
            let none = crate::Grad::None("groups stand apart only after differentiation");
            return vec![none.clone(), none];
        }
        let dw = kernel_gradient(v, [v.x[0], v.dy[0]], &self.axes(), self.groups, &v.dims(v.x[1]));
        vec![crate::Grad::To(self.input_gradient(v)), crate::Grad::To(dw)]
    }

    fn tolerance(&self) -> f64 {
        2e-6
    }
}

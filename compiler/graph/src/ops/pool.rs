use super::window::{self, Axis};
use crate::array::{Array, each_index};
use crate::dim::Dim;
use tensor::Elem;
use kernel::{Affine, Combine, Literal, Subscript};

op! {
    /// The largest element (`max`), its index in row-major order over `..X` (`argmax`, the first of equal ones) or the sum
    /// (`sum`) of each window of `x: [B, C, ..X]`; padding does not count.
    "pool" = Pool(x) {
        kind: String,
        kernel: Vec<i64>,
        stride: Vec<i64>,
        pad: Vec<(i64, i64)>,
        dilation: Vec<i64> = vec![],
    } kind Element
}

impl Pool {
    fn dilation(&self, axis: usize) -> i64 {
        self.dilation.get(axis).copied().unwrap_or(1)
    }

    fn combine(&self) -> Combine {
        if self.kind == "max" { Combine::Max } else { Combine::Sum }
    }

    fn axes(&self) -> Vec<Axis> {
        let axis = |i| Axis { stride: self.stride[i], pad: self.pad[i], dilation: self.dilation(i) };
        (0..self.kernel.len()).map(axis).collect()
    }

    fn out(&self, dim: &Dim, axis: usize) -> Dim {
        self.axes()[axis].count(dim, &Dim::int(self.kernel[axis]))
    }

    /// `dy` spread out and summed over the windows that each element lies in.
    fn sum_gradient(&self, v: &crate::Vjp) -> crate::Value {
        let dims = v.dims(v.x[0]);
        let kernel: Vec<Dim> = self.kernel.iter().map(|k| Dim::int(*k)).collect();
        let (spread, axes) = window::turned(v, v.dy[0], &self.axes(), &dims, &kernel);
        let back = Pool {
            kind: "sum".into(),
            kernel: self.kernel.clone(),
            stride: axes.iter().map(|a| a.stride).collect(),
            pad: axes.iter().map(|a| a.pad).collect(),
            dilation: axes.iter().map(|a| a.dilation).collect(),
        };
        window::cut(v, v.push(back, &[spread]), &dims)
    }

    /// `dy` added at the largest element of each window.
    fn max_gradient(&self, v: &crate::Vjp) -> crate::Value {
        let dims = v.dims(v.x[0]);
        let flat = |dims: &[Dim]| vec![dims[0].clone(), dims[1].clone(), dims[2..].iter().cloned().product()];
        let chosen = v.push(Pool { kind: "argmax".into(), ..self.clone() }, &[v.x[0]]);
        let windows = flat(&v.dims(chosen));
        let (chosen, dy) = (v.reshape(chosen, windows.clone()), v.reshape(v.dy[0], windows));
        let zeros = v.filled(0.0, v.ty(v.x[0]).elem, flat(&dims));
        v.reshape(v.push(super::ScatterAdd { axis: 2 }, &[zeros, chosen, dy]), dims)
    }
}

impl super::Primitive for Pool {
    fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::elementwise::Takes::Number.check(0, x)?;
        let spatial = self.kernel.len();
        if !["max", "argmax", "sum"].contains(&self.kind.as_str()) {
            let expected = "one of \"max\", \"argmax\" and \"sum\"".into();
            return Err(crate::OpError::Attribute { name: "kind".into(), expected });
        }
        if x.rank() != spatial + 2 {
            return Err(crate::OpError::Rank { operand: 0, expected: (spatial + 2).to_string(), got: x.rank() });
        }
        if self.stride.len() != spatial || self.pad.len() != spatial {
            return Err(crate::OpError::Condition("kernel, stride and pad have one item for each spatial axis".into()));
        }
        if !(self.dilation.is_empty() || self.dilation.len() == spatial) {
            return Err(crate::OpError::Condition("dilation has one item for each spatial axis, or none".into()));
        }
        if self.stride.iter().chain(&self.kernel).chain(&self.dilation).any(|n| *n < 1) {
            return Err(crate::OpError::Condition("windows, strides and dilations are at least 1".into()));
        }
        for (i, axis) in self.axes().iter().enumerate() {
            axis.fits(&x.dims[i + 2], &Dim::int(self.kernel[i]), facts)?;
        }
        let mut dims = x.dims[..2].to_vec();
        dims.extend((0..spatial).map(|i| self.out(&x.dims[i + 2], i)));
        let elem = if self.kind == "argmax" { Elem::I32 } else { x.elem };
        Ok(vec![crate::TensorType::new(elem, dims)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x = &x[0];
        let spatial = self.kernel.len();
        let mut shape = x.shape[..2].to_vec();
        shape.extend((0..spatial).map(|i| {
            self.out(&Dim::int(x.shape[i + 2] as i64), i).as_int().unwrap_or(0).max(0) as usize
        }));
        let window: Vec<usize> = self.kernel.iter().map(|k| *k as usize).collect();
        let elem = if self.kind == "argmax" { Elem::I32 } else { x.elem };
        let out = Array::from_fn(elem, shape, |index| {
            let (mut sum, mut most): (f64, Option<(f64, usize)>) = (0.0, None);
            each_index(&window, |k| {
                let mut at = vec![index[0] as i64, index[1] as i64];
                at.extend((0..spatial).map(|i| {
                    index[i + 2] as i64 * self.stride[i] + k[i] as i64 * self.dilation(i) - self.pad[i].0
                }));
                if let Some(v) = x.get(&at) {
                    sum += v;
                    if most.is_none_or(|(most, _)| v > most || v.is_nan() && !most.is_nan()) {
                        let place = at[2..].iter().zip(&x.shape[2..]).fold(0, |flat, (i, n)| flat * n + *i as usize);
                        most = Some((v, place));
                    }
                }
            });
            match self.kind.as_str() {
                "sum" => sum,
                "max" => most.map_or(f64::NEG_INFINITY, |(most, _)| most),
                _ => most.map_or(0.0, |(_, place)| place as f64),
            }
        });
        Ok(vec![out])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
        if self.kind == "argmax" {
            return None;
        }
        let spatial = self.kernel.len();
        let out: Vec<Affine> = (0..spatial).map(|i| c.affine(i + 2)).collect::<Option<_>>()?;
        let dims: Vec<Dim> = self.kernel.iter().map(|k| Dim::int(*k)).collect();
        let names: Vec<&str> = ["u", "v", "w"].into_iter().take(spatial).collect();
        let otherwise: Literal = self.combine().identity(c.elem());
        c.reduce(self.combine(), &names, &dims, |c, k| {
            let mut at = c.indices[..2].to_vec();
            at.extend((0..spatial).map(|i| {
                let tap = out[i].times(self.stride[i]).plus(&k[i], self.dilation(i));
                Subscript::Affine(tap.offset(-self.pad[i].0))
            }));
            if self.pad.iter().any(|p| *p != (0, 0)) { c.load_padded(0, at, otherwise) } else { c.load(0, at) }
        })
    }

    fn routine(&self, x: &[crate::TensorType], y: &[crate::TensorType]) -> Option<super::Routine> {
        if self.kind != "argmax" {
            return None;
        }
        let (images, x, y) = (x[0].dims[..2].iter().cloned().product::<Dim>(), &x[0], &y[0]);
        let mut sizes = vec![images, super::elem_number(x.elem), Dim::int(self.kernel.len() as i64)];
        for (i, axis) in self.axes().iter().enumerate() {
            let moves = [self.kernel[i], axis.stride, axis.pad.0, axis.dilation];
            sizes.extend([x.dims[i + 2].clone(), y.dims[i + 2].clone()]);
            sizes.extend(moves.map(Dim::int));
        }
        let work = self.kernel.iter().map(|k| Dim::int(*k)).product::<Dim>() * y.elements().times(64);
        Some(super::Routine { name: "ArgmaxPool", sizes, work })
    }

    fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
        vec![match self.kind.as_str() {
            "sum" => crate::Grad::To(self.sum_gradient(v)),
            "max" => crate::Grad::To(self.max_gradient(v)),
            _ => crate::Grad::Zero,
        }]
    }

    fn tolerance(&self) -> f64 {
        if self.kind == "sum" { 1e-6 } else { 0.0 }
    }
}

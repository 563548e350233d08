use super::conv::slide;
use crate::array::{Array, each_index};
use crate::dim::Dim;
use kernel::{Affine, Combine, Literal, Subscript};

op! {
    /// The largest element (`max`) or the sum (`sum`) of each window of `x: [B, C, ..X]`; padding does not count.
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

    fn out(&self, dim: &Dim, axis: usize) -> Dim {
        slide(dim, &Dim::int(self.kernel[axis]), self.stride[axis], self.pad[axis], self.dilation(axis))
    }
}

impl super::Primitive for Pool {
    fn infer(&self, x: &[crate::TensorType], _: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
        let [x] = super::take(x)?;
        super::elementwise::Takes::Number.check(0, x)?;
        let spatial = self.kernel.len();
        if !["max", "sum"].contains(&self.kind.as_str()) {
            return Err(crate::OpError::Attribute { name: "kind".into(), expected: "\"max\" or \"sum\"".into() });
        }
        if x.rank() != spatial + 2 {
            return Err(crate::OpError::Rank { operand: 0, expected: (spatial + 2).to_string(), got: x.rank() });
        }
        if self.stride.len() != spatial || self.pad.len() != spatial {
            return Err(crate::OpError::Condition("kernel, stride and pad have one item for each spatial axis".into()));
        }
        if self.stride.iter().chain(&self.kernel).any(|n| *n < 1) {
            return Err(crate::OpError::Condition("windows and strides are at least 1".into()));
        }
        let mut dims = x.dims[..2].to_vec();
        dims.extend((0..spatial).map(|i| self.out(&x.dims[i + 2], i)));
        Ok(vec![crate::TensorType::new(x.elem, dims)])
    }

    fn eval(&self, x: &[Array], _: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let x = &x[0];
        let spatial = self.kernel.len();
        let mut shape = x.shape[..2].to_vec();
        shape.extend((0..spatial).map(|i| {
            self.out(&Dim::int(x.shape[i + 2] as i64), i).as_int().unwrap_or(0).max(0) as usize
        }));
        let window: Vec<usize> = self.kernel.iter().map(|k| *k as usize).collect();
        let max = self.kind == "max";
        let out = Array::from_fn(x.elem, shape, |index| {
            let mut total = if max { f64::NEG_INFINITY } else { 0.0 };
            each_index(&window, |k| {
                let mut at = vec![index[0] as i64, index[1] as i64];
                at.extend((0..spatial).map(|i| {
                    index[i + 2] as i64 * self.stride[i] + k[i] as i64 * self.dilation(i) - self.pad[i].0
                }));
                if let Some(v) = x.get(&at) {
                    total = if max { total.max(v) } else { total + v };
                }
            });
            total
        });
        Ok(vec![out])
    }

    fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
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

    fn tolerance(&self) -> f64 {
        if self.kind == "max" { 0.0 } else { 1e-6 }
    }
}

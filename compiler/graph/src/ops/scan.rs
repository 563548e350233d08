use super::same_dim;
use super::elementwise::same_types;
use crate::array::{Array, each_index};
use crate::dim::Dim;
use crate::gradient::{Grad, Vjp, pull_back};
use crate::nodes::{Graph, Storage, Value};
use crate::types::TensorType;
use std::ops::Range;

op! {
    /// `body` step by step. It takes the carries, one place along `axis` of each scanned tensor, and values that stay the
    /// same; it gives the next carries and values that are stacked along `axis`. Operands are the first carries, scanned
    /// tensors and what stays the same; results the last carries and what is stacked.
    "scan" = Scan(x) {
        steps: Dim,
        axis: usize = 0,
        reversed: bool = false,
        carries: usize,
        scanned: usize,
        body: Box<Graph>,
    } kind Structural
}

impl Scan {
    /// Operands that are carries, that are scanned, and that stay the same.
    pub fn operands(&self) -> [Range<usize>; 3] {
        let scanned = self.carries + self.scanned;
        [0..self.carries, self.carries..scanned, scanned..self.body.operands.len()]
    }

    /// The operand of the body at a position.
    pub fn inner(&self, position: usize) -> Value {
        self.body.operands[position].value
    }

    /// The type of what is stacked from values of type `ty`.
    fn stacked(&self, ty: &TensorType) -> TensorType {
        let mut stacked = ty.clone();
        stacked.dims.insert(self.axis, self.steps.clone());
        stacked
    }

    /// The same along axis 0, with the carries of each step stacked too, after everything else.
    fn with_carries(&self) -> Scan {
        let mut scan = Scan { axis: 0, ..self.clone() };
        for position in 0..self.carries {
            let operand = &self.body.operands[position];
            let mut name = operand.name.clone();
            while scan.body.outputs.iter().any(|(n, _)| *n == name) {
                name += "'";
            }
            scan.body.set_output(name, operand.value);
        }
        scan
    }
}

impl super::Primitive for Scan {
    fn infer(&self, x: &[TensorType], facts: &crate::Facts) -> Result<Vec<TensorType>, crate::OpError> {
        let wrong = |text: String| Err(crate::OpError::Condition(text));
        let (takes, gives) = (self.body.operands.len(), self.body.outputs.len());
        if x.len() != takes || self.carries + self.scanned > takes {
            return wrong(format!(
                "{} operands, {} of them carries and {} scanned, for a body that takes {takes}",
                x.len(),
                self.carries,
                self.scanned
            ));
        }
        if gives < self.carries || gives == 0 {
            return wrong(format!("{} carries and a body that gives {gives} values", self.carries));
        }
        let [_, scanned, _] = self.operands();
        for (i, ty) in x.iter().enumerate() {
            let mut slice = ty.clone();
            if scanned.contains(&i) {
                super::axis_in_range(self.axis, ty.rank())?;
                same_dim(self.axis, &slice.dims.remove(self.axis), &self.steps, facts)?;
            }
            let inner = self.body.ty(self.inner(i));
            if same_types(&slice, inner, facts).is_err() {
                return wrong(format!("`{}` of the body is {inner}, given {slice}", self.body.operands[i].name));
            }
        }
        let mut types = vec![];
        for (i, (name, value)) in self.body.outputs.iter().enumerate() {
            let ty = self.body.ty(*value);
            if i >= self.carries {
                super::axis_in_range(self.axis, ty.rank() + 1)?;
                types.push(self.stacked(ty));
            } else if same_types(&x[i], ty, facts).is_err() {
                return wrong(format!("the carry `{name}` starts as {} but after one step is {ty}", x[i]));
            } else {
                types.push(x[i].clone());
            }
        }
        Ok(types)
    }

    fn eval(&self, x: &[Array], sizes: super::Sizes) -> Result<Vec<Array>, crate::OpError> {
        let steps = super::size(&self.steps, sizes)?;
        let [carries, scanned, same] = self.operands();
        let mut carried = x[carries].to_vec();
        let mut stacked: Vec<Option<Array>> = vec![None; self.body.outputs.len() - self.carries];
        for step in 0..steps {
            let at = if self.reversed { steps - 1 - step } else { step };
            let slices = x[scanned.clone()].iter().map(|x| place(x, self.axis, at));
            let operands: Vec<Array> = carried.iter().cloned().chain(slices).chain(x[same.clone()].to_vec()).collect();
            let values = crate::interpret::values_of_sizes(&self.body, &operands, sizes)?;
            let mut outputs = self.body.outputs.iter().map(|(_, v)| values[v].clone());
            carried = outputs.by_ref().take(self.carries).collect();
            for (whole, value) in stacked.iter_mut().zip(outputs) {
                let whole = whole.get_or_insert_with(|| {
                    let mut shape = value.shape.clone();
                    shape.insert(self.axis, steps);
                    Array::from_fn(value.elem, shape, |_| 0.0)
                });
                each_index(&value.shape, |index| {
                    let mut to = index.to_vec();
                    to.insert(self.axis, at);
                    let offset = whole.offset(&to);
                    whole.data[offset] = value.at(index);
                });
            }
        }
        let stacked = stacked.into_iter().zip(&self.body.outputs[self.carries..]).map(|(whole, (_, value))| {
            let none = || {
                let ty = self.stacked(self.body.ty(*value));
                let shape = ty.dims.iter().map(|d| super::size(d, sizes)).collect::<Result<_, _>>()?;
                Ok(Array::new(ty.elem, shape, vec![]))
            };
            whole.map_or_else(none, Ok)
        });
        carried.into_iter().map(Ok).chain(stacked).collect()
    }

    /// Steps the other way, whose body is the gradient of this one's: carried are the gradients of the carries, and sums
    /// for what stays the same. What a step carried comes from the forward loop, which stacks it.
    fn vjp(&self, v: &Vjp) -> Vec<Grad> {
        // Axis 0 is an axis of everything that is stacked.
        let first = |x: &Value| v.transpose(*x, moved(v.rank(*x), self.axis, 0));
        let back = |y: Value| v.transpose(y, moved(v.rank(y), 0, self.axis));
        let [_, scanned, same] = self.operands();
        let mut x = v.x.to_vec();
        x[scanned.clone()].iter_mut().for_each(|x| *x = first(x));
        let forward = v.push_all(self.with_carries(), &x);
        let (results, carried) = forward.split_at(v.y.len());
        let results: Vec<Value> =
            results.iter().enumerate().map(|(i, y)| if i < self.carries { *y } else { back(*y) }).collect();
        v.replace_results(&results);

        let mut body = (*self.body).clone();
        let outputs = std::mem::take(&mut body.outputs);
        let inner: Vec<Value> = body.operands.iter().map(|o| o.value).collect();
        let is_float = |value: &Value, body: &Graph| body.ty(*value).elem.is_float();
        let floats = |range: &Range<usize>| -> Vec<usize> {
            range.clone().filter(|i| is_float(&inner[*i], &self.body)).collect()
        };
        let [float_carries, float_scanned, float_same] = [&(0..self.carries), &scanned, &same].map(floats);
        let operand = |body: &mut Graph, like: Value, base: &str| {
            let (ty, origin) = (body.ty(like).clone(), body.node(like).origin.clone());
            let name = body.fresh_name(base);
            body.operand(name, Storage::Input, ty, origin)
        };
        // How a scalar changes with what the body gives.
        let mut given = vec![];
        for (i, (name, value)) in outputs.iter().enumerate() {
            if is_float(value, &body) {
                let gradient = operand(&mut body, *value, &format!("d{name}"));
                given.push((i, *value, gradient));
            }
        }
        let sums: Vec<Value> = float_same
            .iter()
            .map(|i| {
                let base = format!("d{}", body.operands[*i].name);
                operand(&mut body, inner[*i], &base)
            })
            .collect();
        let wrt: Vec<usize> = [&float_carries[..], &float_scanned, &float_same].concat();
        let seeds: Vec<(Value, Value)> = given.iter().map(|(_, value, gradient)| (*value, *gradient)).collect();
        let values: Vec<Value> = wrt.iter().map(|i| inner[*i]).collect();
        let gradients = match pull_back(&mut body, &seeds, &values) {
            Ok(gradients) => gradients,
            Err(e) => {
                v.fail(e.error);
                return vec![Grad::Zero; v.x.len()];
            }
        };
        let (of_carries, rest) = gradients.split_at(float_carries.len());
        let (of_scanned, of_same) = rest.split_at(float_scanned.len());
        of_carries.iter().enumerate().for_each(|(i, g)| body.set_output(format!("carry{i}"), *g));
        for (i, (sum, gradient)) in sums.iter().zip(of_same).enumerate() {
            let origin = body.node(*gradient).origin.clone();
            match body.push(super::Add {}, &[*sum, *gradient], &origin) {
                Ok(next) => body.set_output(format!("sum{i}"), next),
                Err(e) => v.fail(e),
            }
        }
        of_scanned.iter().enumerate().for_each(|(i, g)| body.set_output(format!("slice{i}"), *g));

        let (of_next, of_stacked): (Vec<&(usize, Value, Value)>, Vec<_>) = given.iter().partition(|(i, ..)| *i < self.carries);
        let order = of_next.iter().map(|g| g.2).chain(sums.iter().copied());
        let order = order.chain(inner[..scanned.end].iter().copied()).chain(of_stacked.iter().map(|g| g.2));
        let order: Vec<Value> = order.chain(inner[same.clone()].iter().copied()).collect();
        body.operands.sort_by_key(|o| order.iter().position(|v| *v == o.value));

        let mut operands: Vec<Value> = of_next.iter().map(|(i, ..)| v.dy[*i]).collect();
        operands.extend(float_same.iter().map(|i| v.full(0.0, v.x[*i])));
        operands.extend(carried.iter().chain(&x[scanned.clone()]));
        operands.extend(of_stacked.iter().map(|(i, ..)| first(&v.dy[*i])));
        operands.extend(&x[same]);
        let backward = Scan {
            steps: self.steps.clone(),
            axis: 0,
            reversed: !self.reversed,
            carries: of_next.len() + sums.len(),
            scanned: scanned.end + of_stacked.len(),
            body: body.into(),
        };
        let results = v.push_all(backward, &operands);
        // In the order of the results: carries, what stays the same, scanned.
        let order = [&float_carries[..], &float_same, &float_scanned].concat();
        let mut grads = vec![Grad::Zero; v.x.len()];
        for (i, gradient) in order.into_iter().zip(results) {
            grads[i] = Grad::To(if scanned.contains(&i) { back(gradient) } else { gradient });
        }
        grads
    }

    fn tolerance(&self) -> f64 {
        1e-5
    }
}

/// The order of axes that moves one of them to another place.
pub fn moved(rank: usize, from: usize, to: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    let axis = order.remove(from);
    order.insert(to, axis);
    order
}

/// One place of an axis, without the axis.
fn place(x: &Array, axis: usize, at: usize) -> Array {
    let mut shape = x.shape.clone();
    shape.remove(axis);
    Array::from_fn(x.elem, shape, |index| {
        let mut from = index.to_vec();
        from.insert(axis, at);
        x.at(&from)
    })
}

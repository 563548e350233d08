//! Reverse mode: the gradient of a scalar, built into the graph from each operator's `vjp`.

use crate::dim::Dim;
use crate::error::OpError;
use crate::nodes::{Graph, Origin, Value};
use crate::ops::{Add, Div, Eq, Expand, Full, Lt, Mul, Neg, Op, Pad, Reshape, Slice, Sub, Sum, Transpose, Where};
use crate::types::TensorType;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use tensor::Elem;

/// How a scalar changes with one operand, given how it changes with the results.
#[derive(Clone, Debug, PartialEq)]
pub enum Grad {
    To(Value),
    /// Small changes of the operand change nothing.
    Zero,
    /// There is no derivative, for this reason.
    None(&'static str),
}

/// What has no gradient, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientError {
    /// The node whose `vjp` failed.
    pub at: Value,
    pub error: OpError,
}

impl fmt::Display for GradientError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.error)
    }
}

impl std::error::Error for GradientError {}

/// How `of`, a float without axes, changes with each element of each of `wrt`: values of the types of `wrt`.
///
/// Nodes that turn out not to be needed stay in the graph.
pub fn gradients(graph: &mut Graph, of: Value, wrt: &[Value]) -> Result<Vec<Value>, GradientError> {
    let ty = graph.ty(of).clone();
    if ty.rank() > 0 || !ty.elem.is_float() {
        let error = OpError::Condition(format!("the gradient is that of a float without axes, not of {ty}"));
        return Err(GradientError { at: of, error });
    }
    let one = full(graph, 1.0, &ty, &graph.node(of).origin.clone(), of)?;
    pull_back(graph, &[(of, one)], wrt)
}

/// How a scalar changes with each element of each of `wrt`, given how it changes with some values: pairs of a value and
/// its gradient.
pub(crate) fn pull_back(
    graph: &mut Graph,
    given: &[(Value, Value)],
    wrt: &[Value],
) -> Result<Vec<Value>, GradientError> {
    let varying = graph.reached(wrt);
    let mut sums: HashMap<Value, Value> = HashMap::new();
    for (value, gradient) in given {
        let at = |error| GradientError { at: *value, error };
        let sum = match sums.get(value) {
            Some(sum) => graph.push(Add {}, &[*sum, *gradient], &graph.node(*value).origin.clone()).map_err(at)?,
            None => *gradient,
        };
        sums.insert(*value, sum);
    }
    let order = graph.order();
    for first in order.into_iter().rev().filter(|v| varying.contains(&v.node)) {
        let node = graph.node(first).clone();
        let y = graph.results(first);
        if matches!(node.op, Op::Operand(_)) || !y.iter().any(|y| sums.contains_key(y)) {
            continue;
        }
        let at = |error| GradientError { at: first, error };
        let mut dy = vec![];
        for (y, ty) in y.iter().zip(&node.types) {
            dy.push(match sums.get(y) {
                Some(sum) => *sum,
                None => full(graph, 0.0, ty, &node.origin, first)?,
            });
        }
        let v = Vjp { x: &node.operands, y, dy, origin: &node.origin, graph: graph.into(), error: Cell::default() };
        let grads = node.op.vjp(&v);
        if let Some(error) = v.error.take() {
            return Err(at(error));
        }
        for (position, (x, grad)) in node.operands.iter().zip(grads).enumerate() {
            let float = graph.ty(*x).elem.is_float();
            match grad {
                Grad::To(dx) if float && varying.contains(&x.node) => {
                    let sum = match sums.get(x) {
                        Some(sum) => graph.push(Add {}, &[*sum, dx], &node.origin).map_err(at)?,
                        None => dx,
                    };
                    sums.insert(*x, sum);
                }
                Grad::None(reason) if float && varying.contains(&x.node) => {
                    let text = format!("{} has no derivative in operand {position}: {reason}", node.op.name());
                    return Err(at(OpError::Condition(text)));
                }
                _ => {}
            }
        }
    }
    let mut out = vec![];
    for x in wrt {
        out.push(match sums.get(x) {
            Some(sum) => *sum,
            None => full(graph, 0.0, &graph.ty(*x).clone(), &graph.node(*x).origin.clone(), *x)?,
        });
    }
    Ok(out)
}

fn full(graph: &mut Graph, value: f64, ty: &TensorType, origin: &Origin, at: Value) -> Result<Value, GradientError> {
    let op = Full { shape: ty.dims.clone(), value, elem: ty.elem };
    graph.push(op, &[], origin).map_err(|error| GradientError { at, error })
}

/// Where one node's vector-Jacobian product is built.
///
/// Methods give values at once; the first operator that refuses its operands is remembered, and what is built after it
/// is never used.
pub struct Vjp<'a> {
    /// Operands of the node.
    pub x: &'a [Value],
    /// Its results.
    pub y: Vec<Value>,
    /// How the scalar changes with each result.
    pub dy: Vec<Value>,
    origin: &'a Origin,
    graph: RefCell<&'a mut Graph>,
    error: Cell<Option<OpError>>,
}

impl Vjp<'_> {
    pub fn push(&self, op: impl Into<Op>, operands: &[Value]) -> Value {
        match self.graph.borrow_mut().push(op, operands, self.origin) {
            Ok(value) => value,
            Err(e) => {
                self.fail(e);
                self.dy[0]
            }
        }
    }

    /// As [`Vjp::push`], with all results.
    pub fn push_all(&self, op: impl Into<Op>, operands: &[Value]) -> Vec<Value> {
        let first = self.push(op, operands);
        self.graph.borrow().results(first)
    }

    /// What `body` gives for these values in place of its operands.
    pub fn inline(&self, body: &Graph, operands: &[Value]) -> Vec<Value> {
        let known = body.operands.iter().map(|o| o.value).zip(operands.iter().copied()).collect();
        self.graph.borrow_mut().inline(body, known)
    }

    /// Makes every use of the node's results a use of these, which are equal.
    pub fn replace_results(&self, new: &[Value]) {
        self.y.iter().zip(new).for_each(|(old, new)| self.graph.borrow_mut().replace(*old, *new));
    }

    /// There is no derivative here, for this reason.
    pub fn fail(&self, error: OpError) {
        let first = self.error.take().unwrap_or(error);
        self.error.set(Some(first));
    }

    /// A size that must be known when compiling.
    pub fn int(&self, dim: &Dim) -> i64 {
        dim.as_int().unwrap_or_else(|| {
            self.fail(OpError::Condition(format!("the gradient needs the size {dim} to be known when compiling")));
            0
        })
    }

    pub fn ty(&self, value: Value) -> TensorType {
        self.graph.borrow().ty(value).clone()
    }

    pub fn dims(&self, value: Value) -> Vec<Dim> {
        self.ty(value).dims
    }

    pub fn rank(&self, value: Value) -> usize {
        self.ty(value).rank()
    }

    /// One number in every place of a tensor like another.
    pub fn full(&self, value: f64, like: Value) -> Value {
        let ty = self.ty(like);
        self.filled(value, ty.elem, ty.dims)
    }

    pub fn filled(&self, value: f64, elem: Elem, shape: Vec<Dim>) -> Value {
        self.push(Full { shape, value, elem }, &[])
    }

    pub fn add(&self, a: Value, b: Value) -> Value {
        self.push(Add {}, &[a, b])
    }

    pub fn sub(&self, a: Value, b: Value) -> Value {
        self.push(Sub {}, &[a, b])
    }

    pub fn mul(&self, a: Value, b: Value) -> Value {
        self.push(Mul {}, &[a, b])
    }

    pub fn div(&self, a: Value, b: Value) -> Value {
        self.push(Div {}, &[a, b])
    }

    pub fn neg(&self, a: Value) -> Value {
        self.push(Neg {}, &[a])
    }

    /// `a * factor`
    pub fn scale(&self, a: Value, factor: f64) -> Value {
        self.mul(a, self.full(factor, a))
    }

    /// `a + number`
    pub fn plus(&self, a: Value, number: f64) -> Value {
        self.add(a, self.full(number, a))
    }

    pub fn lt(&self, a: Value, b: Value) -> Value {
        self.push(Lt {}, &[a, b])
    }

    pub fn eq(&self, a: Value, b: Value) -> Value {
        self.push(Eq {}, &[a, b])
    }

    pub fn select(&self, condition: Value, a: Value, b: Value) -> Value {
        self.push(Where {}, &[condition, a, b])
    }

    /// `a` where the condition holds, else 0.
    pub fn only(&self, condition: Value, a: Value) -> Value {
        self.select(condition, a, self.full(0.0, a))
    }

    pub fn reshape(&self, a: Value, shape: Vec<Dim>) -> Value {
        match self.dims(a) == shape {
            true => a,
            false => self.push(Reshape { shape }, &[a]),
        }
    }

    pub fn expand(&self, a: Value, shape: Vec<Dim>) -> Value {
        match self.dims(a) == shape {
            true => a,
            false => self.push(Expand { shape }, &[a]),
        }
    }

    pub fn transpose(&self, a: Value, order: Vec<usize>) -> Value {
        match order.iter().enumerate().all(|(i, axis)| i == *axis) {
            true => a,
            false => self.push(Transpose { order }, &[a]),
        }
    }

    pub fn sum(&self, a: Value, axes: Vec<usize>) -> Value {
        match axes.is_empty() {
            true => a,
            false => self.push(Sum { axes, keep: false }, &[a]),
        }
    }

    pub fn slice(&self, a: Value, axis: usize, start: Dim, stop: Dim) -> Value {
        match start == Dim::int(0) && self.dims(a)[axis] == stop {
            true => a,
            false => self.push(Slice { axis, start, stop, step: 1 }, &[a]),
        }
    }

    /// The index along an axis, in every place of a tensor like another.
    pub fn indices(&self, axis: usize, like: Value) -> Value {
        let dims = self.dims(like);
        let mut along = vec![Dim::int(1); dims.len()];
        along[axis] = dims[axis].clone();
        let numbers = self.push(crate::ops::Arange { n: dims[axis].clone() }, &[]);
        self.expand(self.reshape(numbers, along), dims)
    }

    /// A reduction's result, or what changes with it, over the axes that were reduced.
    pub fn spread(&self, a: Value, axes: &[usize], shape: Vec<Dim>) -> Value {
        let kept = shape.iter().enumerate().map(|(i, d)| if axes.contains(&i) { Dim::int(1) } else { d.clone() });
        let kept = self.reshape(a, kept.collect());
        self.expand(kept, shape)
    }

    /// `step - 1` zeros between neighbours along an axis: of size n becomes of size `(n - 1) * step + 1`.
    pub fn interleave(&self, a: Value, axis: usize, step: i64) -> Value {
        if step == 1 {
            return a;
        }
        let dims = self.dims(a);
        let mut apart = dims.clone();
        apart.insert(axis + 1, Dim::int(1));
        let mut after = vec![0; apart.len()];
        after[axis + 1] = step - 1;
        let padded = self.push(Pad { before: vec![0; apart.len()], after, value: 0.0 }, &[self.reshape(a, apart)]);
        let mut joined = dims.clone();
        joined[axis] = dims[axis].times(step);
        let stop = (dims[axis].clone() - Dim::int(1)).times(step) + Dim::int(1);
        self.slice(self.reshape(padded, joined), axis, Dim::int(0), stop)
    }

    /// Axes `at` and the one beside it, 0 or 1, in each other's place. Of the first of both `groups` parts are told apart
    /// that stay before: `[B, g C, ..]` becomes `[C, g B, ..]` with `at` 1, `[g O, C, ..]` becomes `[g C, O, ..]` with 0.
    pub fn swap_channels(&self, a: Value, at: usize, groups: i64) -> Value {
        let dims = self.dims(a);
        let rest: Vec<usize> = (2..dims.len()).collect();
        if groups == 1 {
            return self.transpose(a, [vec![1, 0], rest].concat());
        }
        let groups = Dim::int(groups);
        let Some(part) = dims[at].div(&groups) else {
            self.fail(OpError::Condition(format!("{groups} groups do not divide {}", dims[at])));
            return a;
        };
        let mut apart = dims.clone();
        apart.splice(at..=at, [groups.clone(), part.clone()]);
        let apart = self.reshape(a, apart);
        // [g, O, C, ..] becomes [g, C, O, ..]; [B, g, C, ..] becomes [C, g, B, ..].
        let order = if at == 0 { vec![0, 2, 1] } else { vec![2, 1, 0] };
        let swapped = self.transpose(apart, order.into_iter().chain(rest.iter().map(|i| i + 1)).collect());
        let (first, second) = match at {
            0 => (groups * dims[1].clone(), part),
            _ => (part, groups * dims[0].clone()),
        };
        self.reshape(swapped, [vec![first, second], dims[2..].to_vec()].concat())
    }

    /// `before` and `after` zeros along an axis, as sizes.
    pub fn surround(&self, a: Value, axis: usize, before: Dim, after: Dim) -> Value {
        let ty = self.ty(a);
        let zeros = |n: Dim| {
            let mut dims = ty.dims.clone();
            dims[axis] = n;
            self.filled(0.0, ty.elem, dims)
        };
        let nothing = Dim::int(0);
        let mut parts = vec![a];
        if before != nothing {
            parts.insert(0, zeros(before));
        }
        if after != nothing {
            parts.push(zeros(after));
        }
        match parts[..] {
            [only] => only,
            _ => self.push(crate::ops::Concat { axis }, &parts),
        }
    }
}

//! Random well-typed graphs: a list of steps, each a node or a few on values made before. A step that finds no operands
//! that suit it is left out, so any part of a list is a list of steps too.
//!
//! With each value goes a bound of its magnitude and of the error that f32 may make in it. So results can be compared
//! closely, and values that grow too much are not made.

use graph::ops::*;
use graph::{Dim, Elem, Graph, Op, Origin, Storage, TensorType, Value};

/// What to do, and choices among what is there: each counts modulo the number of possibilities.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub what: What,
    pub choices: [u8; 4],
}

macro_rules! whats {
    ($($What:ident = $f:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum What { $($What),* }

        impl What {
            pub const ALL: &[What] = &[$(What::$What),*];
        }

        impl Builder {
            fn step(&mut self, step: Step) -> Option<()> {
                let c = step.choices.map(usize::from);
                match step.what { $(What::$What => self.$f(c)),* }
            }
        }
    };
}

whats! {
    Unary = unary, Binary = binary, Broadcast = broadcast, Quotient = quotient, Reduce = reduce, Center = center, Dot = dot,
    Linear = linear, Conv = conv, Pool = pool, Transpose = transpose, Merge = merge, Split = split, Slice = slice,
    Flip = flip, Pad = pad, Concat = concat, Take = take, Gather = gather, Select = select, Numbers = numbers,
    Argmax = argmax,
}

/// A graph, how to fill its operands, and how exact its outputs are.
pub struct RandomGraph {
    pub graph: Graph,
    /// For each operand, integers are below this.
    pub below: Vec<f64>,
    /// For each output, the largest error to be expected of f32.
    pub errors: Vec<f64>,
}

/// The name of the size that is known only when running.
pub const SIZE: &str = "n";

/// Relative error of one operation, element functions included.
const EPSILON: f64 = 1e-6;

/// Magnitudes beyond this are not made.
const LARGEST: f64 = 1e4;

/// Constant sizes of operands.
const SIZES: [i64; 7] = [1, 2, 3, 5, 8, 16, 19];

#[derive(Clone, Copy)]
struct Known {
    value: Value,
    bound: f64,
    error: f64,
}

struct Builder {
    graph: Graph,
    below: Vec<f64>,
    known: Vec<Known>,
}

/// The graph of some steps. The operands are of ranks 2 and 3, one with a size known only when running; `sizes` chooses
/// the others. Up to three of its values are outputs, the last always.
pub fn graph(sizes: [u8; 3], steps: &[Step], outputs: [u8; 2]) -> RandomGraph {
    let mut b = Builder { graph: Graph::new("random"), below: vec![], known: vec![] };
    let [p, q, r] = sizes.map(|s| Dim::int(SIZES[s as usize % SIZES.len()]));
    b.operand(Storage::Input, Elem::F32, vec![Dim::var(SIZE), p.clone()], 1.0);
    b.operand(Storage::Input, Elem::F32, vec![q.clone(), Dim::var(SIZE), p.clone()], 1.0);
    b.operand(Storage::Input, Elem::F32, vec![q, r], 1.0);
    b.operand(Storage::Input, Elem::I32, vec![Dim::var(SIZE), p], 9.0);
    for step in steps {
        let _ = b.step(*step);
    }
    let last = b.known.len() - 1;
    let chosen = [last, outputs[0] as usize % (last + 1), outputs[1] as usize % (last + 1)];
    let mut errors = vec![];
    for (i, k) in chosen.into_iter().enumerate() {
        if !chosen[..i].contains(&k) {
            b.graph.set_output(format!("y{i}"), b.known[k].value);
            errors.push(b.known[k].error);
        }
    }
    // Operands that nothing needs only make a failure harder to read.
    let mut kept = vec![true; b.graph.operands.len()];
    b.graph.remove_dead();
    for (i, operand) in b.graph.operands.iter().enumerate() {
        kept[i] = i == 0 || !b.graph.users(operand.value).is_empty() || b.graph.leaving().any(|v| v == operand.value);
    }
    let gone: Vec<Value> = b.graph.operands.iter().zip(&kept).filter(|(_, k)| !**k).map(|(o, _)| o.value).collect();
    b.graph.remove_operands(&gone);
    let below = b.below.iter().zip(&kept).filter(|(_, k)| **k).map(|(x, _)| *x).collect();
    RandomGraph { graph: b.graph, below, errors }
}

impl Builder {
    fn operand(&mut self, storage: Storage, elem: Elem, dims: Vec<Dim>, bound: f64) -> Value {
        let name = format!("x{}", self.below.len());
        let value = self.graph.operand(name, storage, TensorType::new(elem, dims), Origin::default());
        self.below.push(bound);
        // Indices are for one use only.
        if storage == Storage::Input {
            self.known.push(Known { value, bound, error: 0.0 });
        }
        value
    }

    fn push(&mut self, op: impl Into<Op>, operands: &[Value]) -> Option<Value> {
        self.graph.push(op, operands, &Origin::default()).ok()
    }

    fn keep(&mut self, value: Value, bound: f64, error: f64) -> Option<()> {
        let elements = self.graph.ty(value).elements().eval(&|_| Some(40))?;
        (bound <= LARGEST && elements <= 200_000).then(|| self.known.push(Known { value, bound, error }))
    }

    /// A node whose elements are among those of its operands.
    fn same(&mut self, op: impl Into<Op>, x: Known) -> Option<()> {
        let value = self.push(op, &[x.value])?;
        self.keep(value, x.bound, x.error)
    }

    fn dims(&self, x: Known) -> Vec<Dim> {
        self.graph.ty(x.value).dims.clone()
    }

    /// A value made before for which `suits` holds; later ones are likelier.
    fn pick(&self, choice: usize, suits: impl Fn(&Builder, Known) -> bool) -> Option<Known> {
        let all: Vec<Known> = self.known.iter().copied().filter(|k| suits(self, *k)).collect();
        let recent = all.len().min(4);
        match all.is_empty() {
            true => None,
            false if choice % 3 > 0 => Some(all[all.len() - 1 - choice / 3 % recent]),
            false => Some(all[choice / 3 % all.len()]),
        }
    }

    fn float(&self, choice: usize) -> Option<Known> {
        self.pick(choice, |b, k| b.graph.ty(k.value).elem == Elem::F32)
    }

    /// A float with an axis, and the axis.
    fn with_axis(&self, [a, b, ..]: [usize; 4]) -> Option<(Known, usize)> {
        let x = self.pick(a, |g, k| g.graph.ty(k.value).elem == Elem::F32 && g.graph.ty(k.value).rank() > 0)?;
        Some((x, b % self.graph.ty(x.value).rank()))
    }

    /// A weight of these dims, which must be constant.
    fn weight(&mut self, dims: Vec<Dim>) -> Option<Known> {
        dims.iter().all(|d| d.as_int().is_some()).then(|| {
            let value = self.operand(Storage::Param, Elem::F32, dims, 1.0);
            Known { value, bound: 1.0, error: 0.0 }
        })
    }

    fn full(&mut self, value: f64, like: Known) -> Option<Value> {
        let ty = self.graph.ty(like.value).clone();
        self.push(Full { shape: ty.dims, value, elem: ty.elem }, &[])
    }

    fn unary(&mut self, [a, b, ..]: [usize; 4]) -> Option<()> {
        let x = self.float(a)?;
        let most = x.bound.exp();
        let (op, bound, slope): (Op, f64, f64) = match b % 7 {
            0 => (Neg {}.into(), x.bound, 1.0),
            1 => (Abs {}.into(), x.bound, 1.0),
            2 => (Exp {}.into(), most, most),
            3 => (Tanh {}.into(), 1.0, 1.0),
            4 => (Sigmoid {}.into(), 1.0, 1.0),
            5 => (Sin {}.into(), 1.0, 1.0),
            _ => (Erf {}.into(), 1.0, 2.0),
        };
        // Errors of sine grow with its operand.
        let own = EPSILON * bound.max(x.bound.min(LARGEST));
        let value = self.push(op, &[x.value])?;
        self.keep(value, bound, x.error * slope + own)
    }

    fn combine(&mut self, choice: usize, x: Known, y: Known) -> Option<()> {
        let sum = x.bound + y.bound;
        let (op, bound, error): (Op, f64, f64) = match choice % 5 {
            0 => (Add {}.into(), sum, x.error + y.error),
            1 => (Sub {}.into(), sum, x.error + y.error),
            2 => (Mul {}.into(), x.bound * y.bound, x.error * y.bound + y.error * x.bound),
            3 => (Maximum {}.into(), sum, x.error.max(y.error)),
            _ => (Minimum {}.into(), sum, x.error.max(y.error)),
        };
        let value = self.push(op, &[x.value, y.value])?;
        self.keep(value, bound, error + EPSILON * bound)
    }

    fn binary(&mut self, [a, b, c, _]: [usize; 4]) -> Option<()> {
        let x = self.float(a)?;
        let y = self.pick(b, |g, k| g.graph.ty(k.value) == g.graph.ty(x.value))?;
        self.combine(c, x, y)
    }

    /// A smaller tensor expanded to a larger one and combined with it.
    fn broadcast(&mut self, [a, b, c, _]: [usize; 4]) -> Option<()> {
        let x = self.float(a)?;
        let dims = self.dims(x);
        let shape = dims.clone();
        let y = self.pick(b, |g, k| {
            let ty = g.graph.ty(k.value);
            let trailing = ty.dims.iter().rev().zip(dims.iter().rev());
            let fits = trailing.clone().all(|(d, whole)| *d == Dim::int(1) || d == whole);
            ty.elem == Elem::F32 && ty.rank() <= dims.len() && ty.dims != dims && fits
        })?;
        let value = self.push(Expand { shape }, &[y.value])?;
        self.combine(c, x, Known { value, ..y })
    }

    /// `x / (|y| + 1)`
    fn quotient(&mut self, [a, b, ..]: [usize; 4]) -> Option<()> {
        let x = self.float(a)?;
        let y = self.pick(b, |g, k| g.graph.ty(k.value) == g.graph.ty(x.value))?;
        let one = self.full(1.0, y)?;
        let magnitude = self.push(Abs {}, &[y.value])?;
        let divisor = self.push(Add {}, &[magnitude, one])?;
        let value = self.push(Div {}, &[x.value, divisor])?;
        self.keep(value, x.bound, x.error + (y.error + EPSILON) * x.bound * 2.0)
    }

    fn reduce(&mut self, [a, b, c, d]: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis([a, b, 0, 0])?;
        let dims = self.dims(x);
        let mut axes = vec![axis];
        if d % 3 == 0 && axis + 1 < dims.len() {
            axes.push(axis + 1);
        }
        let (keep, n) = (d % 2 == 0, self.count(&axes.iter().map(|a| dims[*a].clone()).collect::<Vec<_>>())?);
        match c % 3 {
            0 => {
                let value = self.push(Sum { axes, keep }, &[x.value])?;
                self.keep(value, x.bound * n, (x.error + EPSILON * x.bound) * n)
            }
            1 => self.same(Max { axes, keep }, x),
            _ => self.same(Min { axes, keep }, x),
        }
    }

    /// Elements of some dims, at most.
    fn count(&self, dims: &[Dim]) -> Option<f64> {
        dims.iter().cloned().product::<Dim>().eval(&|_| Some(40)).map(|n| n as f64)
    }

    /// `x - max(x)` or `x * sum(x)` over one axis: what softmax and norms are made of.
    fn center(&mut self, [a, b, c, _]: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis([a, b, 0, 0])?;
        let shape = self.dims(x);
        self.reduce([a, b, c, 2])?;
        let reduced = self.known.pop()?;
        // Only one axis was reduced, and it stays.
        let value = match self.dims(reduced).get(axis) == Some(&Dim::int(1)) {
            true => self.push(Expand { shape }, &[reduced.value])?,
            false => return None,
        };
        self.combine(c / 3, x, Known { value, ..reduced })
    }

    fn dot(&mut self, [a, b, c, d]: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis([a, b, 0, 0])?;
        let dims = self.dims(x);
        let y = self.pick(c, |g, k| g.graph.ty(k.value).elem == Elem::F32 && g.dims(k).contains(&dims[axis]))?;
        let others = self.dims(y);
        let at: Vec<usize> = (0..others.len()).filter(|i| others[*i] == dims[axis]).collect();
        let contract = at[d % at.len()];
        let pairs = (0..dims.len()).flat_map(|i| (0..others.len()).map(move |j| (i, j)));
        let batch = pairs.filter(|(i, j)| *i != axis && *j != contract && dims[*i] == others[*j]).next();
        let batch = batch.filter(|_| d % 3 > 0);
        let op = graph::ops::Dot {
            contract_x: vec![axis],
            contract_y: vec![contract],
            batch_x: batch.iter().map(|b| b.0).collect(),
            batch_y: batch.iter().map(|b| b.1).collect(),
        };
        let n = self.count(&dims[axis..=axis])?;
        self.product(op, x, y, n)
    }

    fn product(&mut self, op: impl Into<Op>, x: Known, y: Known, n: f64) -> Option<()> {
        let value = self.push(op, &[x.value, y.value])?;
        let bound = x.bound * y.bound;
        let error = x.error * y.bound + y.error * x.bound + EPSILON * bound;
        self.keep(value, bound * n, error * n)
    }

    /// The last axis with a weight.
    fn linear(&mut self, [a, b, ..]: [usize; 4]) -> Option<()> {
        let x = self.float(a)?;
        let dims = self.dims(x);
        let inner = dims.last()?.clone();
        let y = self.weight(vec![inner.clone(), Dim::int(SIZES[b % SIZES.len()])])?;
        let op =
            graph::ops::Dot { contract_x: vec![dims.len() - 1], contract_y: vec![0], batch_x: vec![], batch_y: vec![] };
        let n = self.count(&[inner])?;
        self.product(op, x, y, n)
    }

    fn conv(&mut self, [a, b, c, d]: [usize; 4]) -> Option<()> {
        let x =
            self.pick(a, |g, k| g.graph.ty(k.value).elem == Elem::F32 && [3, 4].contains(&g.graph.ty(k.value).rank()))?;
        let dims = self.dims(x);
        let (channels, spatial) = (dims[1].as_int()?, dims.len() - 2);
        let (taps, stride) = ([1, 3, 2][b % 3], 1 + c as i64 % 2);
        let divisors: Vec<i64> = (1..=channels).filter(|g| channels % g == 0).collect();
        let groups = divisors[d / 4 % divisors.len()];
        let (output, pad) = (groups * [1, 3, 16][d % 3], (taps / 2, (taps - 1) / 2));
        let weight = [vec![output, channels / groups], vec![taps; spatial]].concat();
        let n = weight[1..].iter().product::<i64>() as f64;
        let (pad, stride) = (vec![pad; spatial], vec![stride; spatial]);
        if d % 5 == 4 {
            let weight = [vec![channels, output / groups], vec![taps; spatial]].concat();
            let (n, w) =
                (weight.iter().product::<i64>() as f64, self.weight(weight.into_iter().map(Dim::int).collect())?);
            return self.product(ConvTranspose { stride, pad, dilation: vec![], groups }, x, w, n);
        }
        let w = self.weight(weight.into_iter().map(Dim::int).collect())?;
        self.product(graph::ops::Conv { stride, pad, dilation: vec![], groups, apart: false }, x, w, n)
    }

    fn pool(&mut self, [a, b, c, _]: [usize; 4]) -> Option<()> {
        let x =
            self.pick(a, |g, k| g.graph.ty(k.value).elem == Elem::F32 && [3, 4].contains(&g.graph.ty(k.value).rank()))?;
        let spatial = self.graph.ty(x.value).rank() - 2;
        let kind = ["max", "sum"][b % 2];
        let op = graph::ops::Pool {
            kind: kind.into(),
            kernel: vec![2; spatial],
            stride: vec![1 + c as i64 % 2; spatial],
            pad: vec![(1, 0); spatial],
            dilation: vec![],
        };
        match kind {
            "max" => self.same(op, x),
            _ => {
                let (value, n) = (self.push(op, &[x.value])?, (1 << spatial) as f64);
                self.keep(value, x.bound * n, (x.error + EPSILON * x.bound) * n)
            }
        }
    }

    fn transpose(&mut self, [a, b, c, _]: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis([a, b, 0, 0])?;
        let mut order: Vec<usize> = (0..self.graph.ty(x.value).rank()).collect();
        let other = c % order.len();
        order.swap(axis, other);
        self.same(graph::ops::Transpose { order }, x)
    }

    /// Two neighbouring axes as one.
    fn merge(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        let mut shape = self.dims(x);
        if axis + 1 >= shape.len() {
            return None;
        }
        let second = shape.remove(axis + 1);
        shape[axis] = shape[axis].clone() * second;
        self.same(Reshape { shape }, x)
    }

    /// An axis as two, or with one of size 1 before it.
    fn split(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        let mut shape = self.dims(x);
        if shape.len() > 4 {
            return None;
        }
        let factor = shape[axis].as_int().and_then(|n| (2..n).find(|f| n % f == 0)).filter(|_| c[2] % 3 > 0);
        shape.insert(axis, Dim::int(factor.unwrap_or(1)));
        if let (Some(f), Some(n)) = (factor, shape[axis + 1].as_int()) {
            shape[axis + 1] = Dim::int(n / f);
        }
        self.same(Reshape { shape }, x)
    }

    fn slice(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        let size = self.dims(x)[axis].clone();
        let (start, step) = ([0, 1, 2][c[2] % 3], 1 + (c[3] % 4 == 0) as i64);
        let stop = if c[3] % 3 == 0 { size } else { size - Dim::int(1) };
        self.same(graph::ops::Slice { axis, start: Dim::int(start), stop, step }, x)
    }

    fn flip(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        self.same(graph::ops::Flip { axes: vec![axis] }, x)
    }

    fn pad(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        let rank = self.graph.ty(x.value).rank();
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        (before[axis], after[axis]) = (c[2] as i64 % 3, c[3] as i64 % 3);
        self.same(graph::ops::Pad { before, after, value: 0.5 }, Known { bound: x.bound.max(0.5), ..x })
    }

    fn concat(&mut self, [a, b, c, _]: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis([a, b, 0, 0])?;
        let dims = self.dims(x);
        let y = self.pick(c, |g, k| {
            let ty = g.graph.ty(k.value);
            let same = |(i, (d, e)): (usize, (&Dim, &Dim))| i == axis || d == e;
            ty.elem == Elem::F32 && ty.rank() == dims.len() && ty.dims.iter().zip(&dims).enumerate().all(same)
        })?;
        let value = self.push(graph::ops::Concat { axis }, &[x.value, y.value])?;
        self.keep(value, x.bound.max(y.bound), x.error.max(y.error))
    }

    fn take(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        let size = self.dims(x)[axis].as_int()?;
        let indices = self.operand(Storage::Input, Elem::I32, vec![Dim::int(SIZES[c[2] % SIZES.len()])], size as f64);
        self.known.pop();
        let value = self.push(graph::ops::Take { axis }, &[x.value, indices])?;
        self.keep(value, x.bound, x.error)
    }

    fn gather(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        let mut dims = self.dims(x);
        let size = dims[axis].as_int()?;
        dims[axis] = Dim::int(SIZES[c[2] % SIZES.len()]);
        let indices = self.operand(Storage::Input, Elem::I32, dims, size as f64);
        self.known.pop();
        let value = self.push(graph::ops::Gather { axis }, &[x.value, indices])?;
        self.keep(value, x.bound, x.error)
    }

    /// One of two tensors by a comparison of values that are exact.
    fn select(&mut self, [a, b, c, d]: [usize; 4]) -> Option<()> {
        let x = self.float(a)?;
        let y = self.pick(b, |g, k| g.graph.ty(k.value) == g.graph.ty(x.value))?;
        let dims = self.dims(x);
        let exact = |g: &Builder, k: Known| k.error == 0.0 && g.graph.ty(k.value).dims == dims;
        let left = self.pick(c, exact)?;
        let elem = self.graph.ty(left.value).elem;
        let right = self.pick(d, |g, k| exact(g, k) && g.graph.ty(k.value).elem == elem)?;
        let op: Op = if d % 2 == 0 { Lt {}.into() } else { Le {}.into() };
        let condition = self.push(op, &[left.value, right.value])?;
        let value = self.push(Where {}, &[condition, x.value, y.value])?;
        self.keep(value, x.bound.max(y.bound), x.error.max(y.error))
    }

    /// Integers as floats: an operand, or counted along an axis.
    fn numbers(&mut self, c: [usize; 4]) -> Option<()> {
        let (x, axis) = self.with_axis(c)?;
        let shape = self.dims(x);
        let of = self.pick(c[2], |g, k| g.graph.ty(k.value).elem == Elem::I32);
        let (integers, bound) = match of.filter(|_| c[3] % 2 == 0) {
            Some(k) => (k.value, k.bound),
            None => {
                let mut along = vec![Dim::int(1); shape.len()];
                along[axis] = shape[axis].clone();
                let bound = self.count(&along)?;
                let count = self.push(Arange { n: shape[axis].clone() }, &[])?;
                let column = self.push(Reshape { shape: along }, &[count])?;
                (self.push(Expand { shape }, &[column])?, bound)
            }
        };
        let value = self.push(Cast { to: Elem::F32 }, &[integers])?;
        self.keep(value, bound, 0.0)
    }

    fn argmax(&mut self, [a, b, ..]: [usize; 4]) -> Option<()> {
        let x =
            self.pick(a, |g, k| k.error == 0.0 && g.graph.ty(k.value).elem == Elem::F32 && !g.dims(k).is_empty())?;
        let axis = b % self.graph.ty(x.value).rank();
        let bound = self.count(&self.dims(x)[axis..=axis])?;
        let value = self.push(graph::ops::Argmax { axis }, &[x.value])?;
        self.keep(value, bound, 0.0)
    }
}

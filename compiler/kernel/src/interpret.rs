//! Reference interpreters for both levels. They define what a kernel means; every back end is compared with them.
//!
//! The nest runs in f64 and says what the exact answer is. The scheduled kernel rounds every operation to its element
//! type, in the order the schedule gives, and traps on an address outside its buffer.

use crate::affine::{Affine, ExprId, Extent, VarId};
use crate::expr::{Binary, Combine, Compare, Expr, Exprs, Subscript, Unary};
use crate::nest::Kernel;
use crate::scheduled::{LoopKind, Place, Scheduled, Stmt};
use std::collections::HashMap;
use std::fmt;
use tensor::Elem;

/// A kernel that reads or writes outside a buffer, or is given too few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap(pub String);

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Trap {}

/// Runs a nest. `buffers` holds every buffer of the kernel row-major, in order; temporaries may be empty.
pub fn nest(kernel: &Kernel, sizes: &[i64], buffers: &mut [Vec<f64>]) -> Result<(), Trap> {
    let mut run = NestRun { kernel, sizes, axes: vec![0; kernel.axes.len()] };
    for (buffer, data) in kernel.buffers.iter().zip(buffers.iter_mut()) {
        let len = buffer.dims.iter().map(|d| run.extent(*d)).product::<i64>() as usize;
        if data.is_empty() {
            data.resize(len, 0.0);
        }
        if data.len() != len {
            return Err(Trap(format!("`{}` has {len} elements, not {}", buffer.name, data.len())));
        }
    }
    for stage in &kernel.stages {
        let mut axes: Vec<VarId> = stage.at.iter().flat_map(|a| a.vars().collect::<Vec<_>>()).collect();
        axes.sort();
        axes.dedup();
        run.over(&axes, &mut |run| {
            let mut known = HashMap::new();
            let value = run.eval(stage.value, buffers, &mut known)?;
            let at = stage.at.iter().map(|a| Ok(run.affine(a)));
            let offset = run.offset(stage.target.index(), at)?;
            let Some(offset) = offset else {
                return Err(Trap(format!(
                    "a store to `{}` is out of bounds",
                    kernel.buffers[stage.target.index()].name
                )));
            };
            buffers[stage.target.index()][offset] = value;
            Ok(())
        })?;
    }
    Ok(())
}

struct NestRun<'a> {
    kernel: &'a Kernel,
    sizes: &'a [i64],
    axes: Vec<i64>,
}

impl NestRun<'_> {
    fn extent(&self, extent: Extent) -> i64 {
        match extent {
            Extent::Const(n) => n,
            Extent::Size(s) => self.sizes[s.index()],
        }
    }

    fn affine(&self, a: &Affine) -> i64 {
        a.evaluate(&|v| self.axes[v.index()], &|s| self.sizes[s.index()])
    }

    fn over(&mut self, axes: &[VarId], body: &mut dyn FnMut(&mut Self) -> Result<(), Trap>) -> Result<(), Trap> {
        let Some((axis, rest)) = axes.split_first() else { return body(self) };
        for i in 0..self.extent(self.kernel.axes[axis.index()].extent) {
            self.axes[axis.index()] = i;
            self.over(rest, body)?;
        }
        Ok(())
    }

    fn offset(&self, buffer: usize, at: impl Iterator<Item = Result<i64, Trap>>) -> Result<Option<usize>, Trap> {
        let mut offset = 0;
        for (index, dim) in at.zip(&self.kernel.buffers[buffer].dims) {
            let (index, dim) = (index?, self.extent(*dim));
            if index < 0 || index >= dim {
                return Ok(None);
            }
            offset = offset * dim + index;
        }
        Ok(Some(offset as usize))
    }

    fn eval(&mut self, id: ExprId, buffers: &[Vec<f64>], known: &mut HashMap<ExprId, f64>) -> Result<f64, Trap> {
        if let Some(value) = known.get(&id) {
            return Ok(*value);
        }
        let kernel = self.kernel;
        let value = match &kernel.exprs[id] {
            Expr::Index(a, _) => self.affine(a) as f64,
            Expr::Load { buffer, at, guard } => {
                let within = |run: &Self, a: &Affine, n: &Extent| (0..run.extent(*n)).contains(&run.affine(a));
                match guard {
                    Some(g) if !g.ranges.iter().all(|(a, n)| within(self, a, n)) => g.otherwise.value(),
                    _ => {
                        let mut indices = vec![];
                        for s in at {
                            indices.push(Ok(match s {
                                Subscript::Affine(a) => self.affine(a),
                                Subscript::Data(e) => self.eval(*e, buffers, known)? as i64,
                            }));
                        }
                        let name = &kernel.buffers[buffer.index()].name;
                        let Some(offset) = self.offset(buffer.index(), indices.into_iter())? else {
                            return Err(Trap(format!("a load from `{name}` is out of bounds")));
                        };
                        buffers[buffer.index()][offset]
                    }
                }
            }
            Expr::Reduce { op, axes, body } => {
                let mut total = op.identity(kernel.exprs.elem(*body)).value();
                self.over(axes, &mut |run| {
                    total = combine(*op, total, run.eval(*body, buffers, &mut HashMap::new())?);
                    Ok(())
                })?;
                total
            }
            expr => {
                let operands = expr.operands();
                let mut values = vec![];
                for operand in operands {
                    values.push(self.eval(operand, buffers, known)?);
                }
                // Floats stay f64: this is the exact answer that rounding is measured against.
                let elem = if kernel.exprs.elem(id).is_float() { Elem::F64 } else { kernel.exprs.elem(id) };
                scalar(&kernel.exprs, expr, elem, &values)
            }
        };
        known.insert(id, value);
        Ok(value)
    }
}

fn combine(op: Combine, a: f64, b: f64) -> f64 {
    match op {
        Combine::Sum => a + b,
        Combine::Prod => a * b,
        Combine::Max => maximum(a, b),
        Combine::Min => minimum(a, b),
    }
}

fn maximum(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

fn minimum(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// One operation on scalars, rounded to `elem`. Integers are exact up to 2^53.
fn scalar(exprs: &Exprs, expr: &Expr, elem: Elem, x: &[f64]) -> f64 {
    let value = match expr {
        Expr::Const(literal) => literal.value(),
        Expr::Unary(op, a) => unary(*op, exprs.elem(*a), x[0]),
        Expr::Binary(op, ..) => binary(*op, elem, x[0], x[1]),
        Expr::Fma(..) => match elem {
            Elem::F64 => x[0].mul_add(x[1], x[2]),
            _ => (x[0] as f32).mul_add(x[1] as f32, x[2] as f32) as f64,
        },
        Expr::Compare(op, ..) => match op {
            Compare::Eq => (x[0] == x[1]) as i32 as f64,
            Compare::Ne => (x[0] != x[1]) as i32 as f64,
            Compare::Lt => (x[0] < x[1]) as i32 as f64,
            Compare::Le => (x[0] <= x[1]) as i32 as f64,
        },
        Expr::Select(..) => {
            if x[0] != 0.0 {
                x[1]
            } else {
                x[2]
            }
        }
        Expr::Cast(..) => x[0],
        Expr::Lookup(table, _) => table.entries()[x[0] as i64 as usize % 16] as f64,
        Expr::Index(..) | Expr::Load { .. } | Expr::Checked(..) | Expr::Reduce { .. } => {
            unreachable!("evaluated by the caller")
        }
    };
    round(elem, value)
}

fn round(elem: Elem, value: f64) -> f64 {
    match elem {
        _ if elem.is_float() => elem.nearest(value),
        Elem::Bool => (value != 0.0) as i32 as f64,
        Elem::I32 => value.trunc() as i64 as i32 as f64,
        Elem::I16 => value.trunc() as i64 as i16 as f64,
        Elem::I8 => value.trunc() as i64 as i8 as f64,
        Elem::U32 => value.trunc() as i64 as u32 as f64,
        Elem::U16 => value.trunc() as i64 as u16 as f64,
        Elem::U8 => value.trunc() as i64 as u8 as f64,
        _ => value.trunc(),
    }
}

/// `op(x)` in f64, for `x` of element type `operand`: what its code is held against.
pub fn unary(op: Unary, operand: Elem, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sqrt => x.sqrt(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Trunc => x.trunc(),
        Unary::Not if operand == Elem::Bool => (x == 0.0) as i32 as f64,
        Unary::Not => !(x as i64) as f64,
        Unary::Bits => (x as f32).to_bits() as i32 as f64,
        Unary::FromBits => f32::from_bits(x as i64 as i32 as u32) as f64,
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Atan => x.atan(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Erf => tensor::erf(x),
    }
}

fn binary(op: Binary, elem: Elem, x: f64, y: f64) -> f64 {
    let ints = |f: fn(i64, i64) -> i64| f(x as i64, y as i64) as f64;
    match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Rem => x % y,
        Binary::Min => minimum(x, y),
        Binary::Max => maximum(x, y),
        Binary::And => ints(|a, b| a & b),
        Binary::Or => ints(|a, b| a | b),
        Binary::Xor => ints(|a, b| a ^ b),
        Binary::Shl => ints(|a, b| a.wrapping_shl(b as u32)),
        Binary::Shr => ints(|a, b| a.wrapping_shr(b as u32)),
        Binary::Ldexp => {
            let n = y.clamp(-252.0, 254.0);
            let half = (n / 2.0).floor();
            let scale = |x: f64, n: f64| round(elem, x * n.exp2());
            scale(scale(x, half), n - half)
        }
        Binary::Pow => x.powf(y),
    }
}

/// Runs a scheduled kernel. `buffers` holds the argument buffers in their layouts, indexed like the kernel's storage;
/// what is not an argument may be empty.
pub fn scheduled(kernel: &Scheduled, sizes: &[i64], buffers: &mut [Vec<f64>]) -> Result<(), Trap> {
    let tasks = kernel.tasks.evaluate(&|_| 0, &|s| kernel.sizes(sizes, 0, 0)[s.index()]);
    let mut storage: Vec<Vec<f64>> = (kernel.storage.iter().enumerate())
        .map(|(i, s)| match s.place {
            Place::Argument => std::mem::take(&mut buffers[i]),
            // What nobody has written must not be read: NaN shows it.
            _ => vec![f64::NAN; s.len.unwrap_or(0) as usize],
        })
        .collect();
    let mut run = Run { kernel, sizes: kernel.sizes(sizes, 0, tasks), loops: vec![0; kernel.loops.len()] };
    let result = run.block(&kernel.body, &mut storage);
    for (i, s) in kernel.storage.iter().enumerate().filter(|(_, s)| s.place == Place::Argument) {
        debug_assert!(s.place == Place::Argument);
        buffers[i] = std::mem::take(&mut storage[i]);
    }
    result
}

struct Run<'a> {
    kernel: &'a Scheduled,
    sizes: Vec<i64>,
    loops: Vec<i64>,
}

impl Run<'_> {
    fn extent(&self, extent: Extent) -> i64 {
        match extent {
            Extent::Const(n) => n,
            Extent::Size(s) => self.sizes[s.index()],
        }
    }

    fn affine(&self, a: &Affine) -> i64 {
        a.evaluate(&|v| self.loops[v.index()], &|s| self.sizes[s.index()])
    }

    fn block(&mut self, stmts: &[Stmt], storage: &mut [Vec<f64>]) -> Result<(), Trap> {
        for stmt in stmts {
            match stmt {
                Stmt::Loop { var, body } => {
                    debug_assert!(self.kernel.loops[var.index()].kind != LoopKind::Lanes || self.lanes_fit(*var));
                    for i in 0..self.extent(self.kernel.loops[var.index()].extent) {
                        self.loops[var.index()] = i;
                        self.block(body, storage)?;
                    }
                }
                Stmt::Set { target, at, combine: op, value, .. } => {
                    let value = self.eval(*value, storage, &mut HashMap::new())?;
                    let (at, info) = (self.affine(at), &self.kernel.storage[target.index()]);
                    let Some(place) = usize::try_from(at).ok().and_then(|i| storage[target.index()].get_mut(i)) else {
                        return Err(Trap(format!("a store to `{}` at {at} is out of bounds", info.name)));
                    };
                    *place = match op {
                        None => value,
                        Some(op) => round(info.elem, combine(*op, *place, value)),
                    };
                }
            }
        }
        Ok(())
    }

    fn lanes_fit(&self, var: VarId) -> bool {
        self.extent(self.kernel.loops[var.index()].extent) <= self.kernel.lanes
    }

    fn eval(&mut self, id: ExprId, storage: &[Vec<f64>], known: &mut HashMap<ExprId, f64>) -> Result<f64, Trap> {
        if let Some(value) = known.get(&id) {
            return Ok(*value);
        }
        let kernel = self.kernel;
        let value = match &kernel.exprs[id] {
            Expr::Index(a, _) => self.affine(a) as f64,
            Expr::Load { buffer, at, guard } => {
                let within = |run: &Self, a: &Affine, n: &Extent| (0..run.extent(*n)).contains(&run.affine(a));
                match guard {
                    Some(g) if !g.ranges.iter().all(|(a, n)| within(self, a, n)) => g.otherwise.value(),
                    _ => {
                        let mut offset = 0;
                        for s in at {
                            offset += match s {
                                Subscript::Affine(a) => self.affine(a),
                                Subscript::Data(e) => self.eval(*e, storage, known)? as i64,
                            };
                        }
                        let data = usize::try_from(offset).ok().and_then(|i| storage[buffer.index()].get(i));
                        let name = &kernel.storage[buffer.index()].name;
                        *data.ok_or_else(|| Trap(format!("a load from `{name}` at {offset} is out of bounds")))?
                    }
                }
            }
            Expr::Checked(a, extent) => {
                let value = self.eval(*a, storage, known)?;
                if !(0..self.extent(*extent)).contains(&(value as i64)) {
                    return Err(Trap(format!("an index from data is {value}, of {}", self.extent(*extent))));
                }
                value
            }
            Expr::Reduce { op, axes, body } => {
                let elem = kernel.exprs.elem(*body);
                let mut values = vec![];
                self.collect(axes, *body, storage, &mut values)?;
                while values.len() > 1 {
                    // Halves are added to halves, as vector registers do it.
                    let half = values.len().div_ceil(2);
                    let upper = values.split_off(half);
                    for (a, b) in values.iter_mut().zip(upper) {
                        *a = round(elem, combine(*op, *a, b));
                    }
                }
                values.first().copied().unwrap_or(op.identity(elem).value())
            }
            expr => {
                let mut values = vec![];
                for operand in expr.operands() {
                    values.push(self.eval(operand, storage, known)?);
                }
                scalar(&kernel.exprs, expr, kernel.exprs.elem(id), &values)
            }
        };
        known.insert(id, value);
        Ok(value)
    }

    fn collect(
        &mut self,
        axes: &[VarId],
        body: ExprId,
        storage: &[Vec<f64>],
        values: &mut Vec<f64>,
    ) -> Result<(), Trap> {
        let Some((axis, rest)) = axes.split_first() else {
            values.push(self.eval(body, storage, &mut HashMap::new())?);
            return Ok(());
        };
        for i in 0..self.extent(self.kernel.loops[axis.index()].extent) {
            self.loops[axis.index()] = i;
            self.collect(rest, body, storage, values)?;
        }
        Ok(())
    }
}

//! From a scheduled kernel to the vector IR: unrolled loops written out, registers as values, one pointer for each
//! buffer and set of open loops, everything else a displacement.

mod address;
mod expr;
mod loops;
mod transpose;

use crate::vir::{Builder, Function, Op, Type, Value};
use kernel::scheduled::{LoopKind, Place, Scheduled, SizeValue, Stmt};
use kernel::{Affine, BufferId, Extent, SizeId, VarId};
use std::collections::HashMap;
use std::fmt;

/// A feature of kernels that this back end does not offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "the CPU back end does not support {}", self.0)
    }
}

impl std::error::Error for Unsupported {}

pub(crate) fn unsupported<T>(what: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(what.into()))
}

/// Slots of the argument table: the error word, argument buffers in order, size arguments in order, scratch memory.
pub fn table_slots(kernel: &Scheduled) -> Vec<String> {
    let buffers = kernel.storage.iter().filter(|s| s.place == Place::Argument).map(|s| s.name.clone());
    let sizes = kernel.sizes.iter().filter(|s| s.value == SizeValue::Argument).map(|s| s.name.clone());
    let ends = |name: &str| std::iter::once(name.to_string());
    ends("error").chain(buffers).chain(sizes).chain(ends("scratch")).collect()
}

/// The kernel as a function of `kernel.lanes` lanes.
pub fn lower(kernel: &Scheduled) -> Result<Function, Unsupported> {
    let mut lower = Lower {
        kernel,
        b: Builder::new(kernel.lanes as usize),
        bindings: vec![Binding::Closed; kernel.loops.len()],
        bases: HashMap::new(),
        sizes: vec![],
        error: Value(0),
        pointers: HashMap::new(),
        known: HashMap::new(),
        numbers: HashMap::new(),
        held: HashMap::new(),
        registers: HashMap::new(),
        exact_lanes: vec![false; kernel.storage.len()],
        lane: None,
        unrolled: vec![],
        waiting: vec![],
    };
    lower.entry();
    lower.note_exact_lanes(&kernel.body);
    lower.block(&kernel.body)?;
    lower.b.ret();
    let mut function = lower.b.function;
    function.remove_dead();
    Ok(function)
}

/// What is known of a loop variable at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Binding {
    Closed,
    /// An iteration of an unrolled loop.
    Const(i64),
    /// A run-time loop; its index, counted up, where something asks for its value.
    Run(Option<Value>),
    Lanes,
}

/// The open vector: its variable and how many lanes are on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lane {
    var: VarId,
    active: Active,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Active {
    All,
    First(i64),
    Run(Value),
}

/// Dynamic part of an address: terms over run-time loops and sizes.
type PointerKey = (BufferId, Affine);

struct Lower<'a> {
    kernel: &'a Scheduled,
    b: Builder,
    bindings: Vec<Binding>,
    bases: HashMap<BufferId, Value>,
    sizes: Vec<Value>,
    error: Value,
    /// Pointers valid here, by what they include.
    pointers: HashMap<PointerKey, Value>,
    /// Expressions of the statement at hand that have a value.
    known: HashMap<kernel::ExprId, Value>,
    /// Value numbering of pure operations and loads since the last loop boundary.
    numbers: HashMap<(Op, Vec<Value>), Value>,
    /// Constants kept in registers through an inner loop.
    held: HashMap<Op, Value>,
    /// Current values of register buffers by address of the first lane.
    registers: HashMap<(BufferId, i64), Value>,
    /// Register buffers whose lanes are combined, so that those switched off must keep their values.
    exact_lanes: Vec<bool>,
    lane: Option<Lane>,
    /// Unrolled loops opened since the innermost run-time loop: their iterations share values.
    unrolled: Vec<VarId>,
    /// Vectors whose elements are stored by turns with those of the loop's next iteration.
    waiting: Vec<transpose::Waiting>,
}

impl Lower<'_> {
    fn entry(&mut self) {
        let kernel = self.kernel;
        let [table, begin, end] = [0, 1, 2].map(|i| self.b.push(Op::Param(i), &[]));
        let mut slot = 0;
        let mut next = |b: &mut Builder| {
            slot += 8;
            b.push(Op::LoadI64(slot - 8), &[table])
        };
        self.error = next(&mut self.b);
        for (i, _) in kernel.storage.iter().enumerate().filter(|(_, s)| s.place == Place::Argument) {
            let base = next(&mut self.b);
            self.bases.insert(BufferId(i as u32), base);
        }
        let arguments: Vec<Value> =
            (kernel.sizes.iter()).filter(|s| s.value == SizeValue::Argument).map(|_| next(&mut self.b)).collect();
        let scratch = next(&mut self.b);
        for (i, s) in kernel.storage.iter().enumerate() {
            if let Place::Scratch { offset } = s.place {
                let base = self.b.push(Op::AddImm(offset as i32), &[scratch]);
                self.bases.insert(BufferId(i as u32), base);
            }
        }
        let mut arguments = arguments.into_iter();
        for info in &kernel.sizes {
            let value = match &info.value {
                SizeValue::Argument => arguments.next().expect("one slot for each argument"),
                SizeValue::TaskBegin => begin,
                SizeValue::TaskEnd => end,
                SizeValue::Linear(a) => self.integer(a),
                SizeValue::Floor(a, by) => {
                    let a = self.integer(a);
                    self.floor(a, *by)
                }
                SizeValue::Product(a, b) => {
                    let (a, b) = (self.sizes[a.index()], self.sizes[b.index()]);
                    self.b.push(Op::Int(crate::vir::IntOp::Mul), &[a, b])
                }
                SizeValue::Min(a, b) => self.extreme(crate::vir::IntOp::Min, a, b),
                SizeValue::Max(a, b) => self.extreme(crate::vir::IntOp::Max, a, b),
            };
            self.sizes.push(value);
        }
    }

    fn extreme(&mut self, op: crate::vir::IntOp, a: &Affine, b: &Affine) -> Value {
        let (a, b) = (self.integer(a), self.integer(b));
        self.b.push(Op::Int(op), &[a, b])
    }

    /// `floor(a / by)` for 0 <= a < 2^31, by a multiplication: with `k = ceil(log2 by)`, `a * (2^(31+k) / by + 1)` is
    /// below 2^63 and its part above bit 31 + k is exact (Granlund and Montgomery, 1994).
    fn floor(&mut self, a: Value, by: i64) -> Value {
        if by.count_ones() == 1 {
            return self.b.push(Op::ShrImm(by.trailing_zeros() as u8), &[a]);
        }
        let shift = 31 + (64 - (by - 1).leading_zeros());
        let factor = self.b.push(Op::Const(((1i128 << shift) / by as i128 + 1) as i64), &[]);
        let product = self.b.push(Op::Int(crate::vir::IntOp::Mul), &[a, factor]);
        self.b.push(Op::ShrImm(shift as u8), &[product])
    }

    fn size(&self, size: SizeId) -> Value {
        self.sizes[size.index()]
    }

    fn extent_value(&mut self, extent: Extent) -> Value {
        match extent {
            Extent::Const(n) => self.b.push(Op::Const(n), &[]),
            Extent::Size(s) => self.size(s),
        }
    }

    /// A pure operation, or the value it already has here.
    fn pure(&mut self, op: Op, operands: &[Value]) -> Value {
        if let Some(value) = self.numbers.get(&(op, operands.to_vec())) {
            return *value;
        }
        let value = self.b.push(op, operands);
        self.numbers.insert((op, operands.to_vec()), value);
        value
    }

    fn block(&mut self, stmts: &[Stmt]) -> Result<(), Unsupported> {
        for stmt in stmts {
            match stmt {
                Stmt::Loop { var, body } => self.open(*var, body)?,
                Stmt::Set { .. } => self.set(stmt)?,
            }
        }
        Ok(())
    }

    fn open(&mut self, var: VarId, body: &[Stmt]) -> Result<(), Unsupported> {
        let info = &self.kernel.loops[var.index()];
        match (info.kind, info.extent) {
            (LoopKind::Unroll | LoopKind::UnrollFresh, Extent::Const(n)) => {
                if info.kind == LoopKind::Unroll {
                    self.unrolled.push(var);
                }
                for i in 0..n {
                    if info.kind == LoopKind::UnrollFresh {
                        self.forget_loads();
                    }
                    self.bindings[var.index()] = Binding::Const(i);
                    self.block(body)?;
                }
                self.bindings[var.index()] = Binding::Closed;
                self.unrolled.retain(|v| *v != var);
                match self.waiting.iter().any(|w| w.var == var) {
                    true => unsupported("one of two stores by turns"),
                    false => Ok(()),
                }
            }
            (LoopKind::Lanes, extent) => {
                let lanes = self.kernel.lanes;
                let active = match extent {
                    Extent::Const(n) if n == lanes => Active::All,
                    Extent::Const(n) if n < lanes => Active::First(n),
                    Extent::Const(n) => return unsupported(format!("{n} elements in a vector of {lanes}")),
                    Extent::Size(s) => Active::Run(self.size(s)),
                };
                let outside = self.lane.replace(Lane { var, active });
                self.bindings[var.index()] = Binding::Lanes;
                self.constant_strides(var, body)?;
                let result = self.block(body);
                self.bindings[var.index()] = Binding::Closed;
                self.lane = outside;
                result
            }
            (LoopKind::Serial | LoopKind::Parallel, extent) => {
                let outside = std::mem::take(&mut self.unrolled);
                let result = self.run_loop(var, extent, body);
                self.unrolled = outside;
                result
            }
            (kind, _) => unsupported(format!("a loop of kind {kind:?} here")),
        }
    }

    fn note_exact_lanes(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Loop { body, .. } => self.note_exact_lanes(body),
                Stmt::Set { value, .. } => {
                    let exprs = &self.kernel.exprs;
                    let mut inside = vec![];
                    exprs.walk(*value, &mut |_, e| {
                        if let kernel::Expr::Reduce { body, .. } = e {
                            inside.push(*body);
                        }
                    });
                    for body in inside {
                        exprs.walk(body, &mut |_, e| {
                            if let kernel::Expr::Load { buffer, .. } = e {
                                self.exact_lanes[buffer.index()] = true;
                            }
                        });
                    }
                }
            }
        }
    }

    fn forget_loads(&mut self) {
        self.numbers.retain(|(op, _), _| !matches!(op, Op::Load { .. } | Op::Broadcast { .. } | Op::Gather { .. }));
    }

    fn forget_constants(&mut self) {
        self.numbers.retain(|(op, _), _| !matches!(op, Op::Splat(_) | Op::Entries { .. }));
    }

    fn forget(&mut self) {
        self.numbers.clear();
    }

    fn is_register(&self, buffer: BufferId) -> bool {
        self.kernel.storage[buffer.index()].place == Place::Register
    }

    /// Lane numbers as i32.
    fn iota(&mut self) -> Value {
        self.pure(Op::Iota, &[])
    }

    fn splat(&mut self, bits: u32) -> Value {
        self.held(Op::Splat(bits))
    }

    /// A constant, from the register that holds it if one does.
    fn held(&mut self, constant: Op) -> Value {
        match self.held.get(&constant) {
            Some(value) => *value,
            None => self.pure(constant, &[]),
        }
    }

    fn value_type(&self, value: Value) -> Type {
        self.b.ty(value)
    }
}

//! Loops that run: a counter, pointers that move along, registers that live through.

use super::{Binding, Lower, PointerKey, Unsupported, unsupported};
use crate::vir::{IntOp, Op, Type, Value};
use kernel::affine::Term;
use kernel::scheduled::{LoopKind, Stmt};
use kernel::{Affine, BufferId, Expr, ExprId, Extent, Subscript, VarId};
use std::collections::BTreeSet;

/// A pointer that moves with the loop.
struct Moving {
    key: PointerKey,
    /// Bytes an iteration, or a value that holds them.
    step: Step,
}

enum Step {
    Bytes(i64),
    Value(Value),
}

/// What the statements of a loop's body touch.
#[derive(Default)]
struct Uses {
    accesses: BTreeSet<(BufferId, Affine)>,
    /// Affines whose values are needed as numbers.
    indices: Vec<Affine>,
    targets: BTreeSet<BufferId>,
    /// With how often they occur.
    constants: Vec<(Op, usize)>,
    inner_loops: bool,
}

impl Uses {
    fn constant(&mut self, constant: Op) {
        match self.constants.iter_mut().find(|(op, _)| *op == constant) {
            Some((_, n)) => *n += 1,
            None => self.constants.push((constant, 1)),
        }
    }
}

impl Lower<'_> {
    pub(super) fn run_loop(&mut self, var: VarId, extent: Extent, body: &[Stmt]) -> Result<(), Unsupported> {
        let mut uses = Uses::default();
        self.collect(body, &mut uses);
        let count = self.extent_value(extent);
        let skip = matches!(extent, Extent::Size(_)).then(|| {
            let (enter, skip) = (self.b.block(), self.b.block());
            self.b.branch(count, enter, skip);
            self.b.switch(enter);
            skip
        });
        let outer_pointers = self.pointers.clone();
        let outer_registers: Vec<(BufferId, i64)> = self.registers.keys().copied().collect();
        let outer_held = self.held.clone();
        self.forget();

        // Everything that the loop needs and that does not change in it, before it.
        self.bindings[var.index()] = Binding::Run(None);
        let moving = self.moving(var, &uses);
        self.bindings[var.index()] = Binding::Closed;
        self.settle_pointers(&uses);
        let mut initial = vec![count];
        for m in &moving {
            let without = m.key.1.without(var);
            let at_start = self.pointer(m.key.0, &without);
            initial.push(at_start);
        }
        let counted = self.needs_index(var, &uses).then(|| self.b.push(Op::Const(0), &[]));
        initial.extend(counted);
        let mut carried: Vec<(BufferId, i64)> =
            self.registers.keys().copied().filter(|(b, _)| uses.targets.contains(b)).collect();
        carried.sort();
        initial.extend(carried.iter().map(|key| self.registers[key]));
        self.hold_constants(&uses, carried.len());

        let header = self.b.block();
        self.b.jump(header, &initial);
        let params: Vec<Value> = initial
            .iter()
            .map(|v| self.b.ty(*v))
            .collect::<Vec<Type>>()
            .into_iter()
            .map(|ty| self.b.param(header, ty))
            .collect();
        self.b.switch(header);
        self.forget();
        let before: Vec<Value> = carried.iter().map(|key| self.registers[key]).collect();
        let mut rest = params.iter().copied();
        let counter = rest.next().expect("the counter comes first");
        for m in &moving {
            let pointer = rest.next().expect("one parameter for each pointer");
            self.pointers.insert(m.key.clone(), pointer);
        }
        let index = counted.map(|_| rest.next().expect("then the index"));
        for key in &carried {
            self.registers.insert(*key, rest.next().expect("then the registers"));
        }
        self.bindings[var.index()] = Binding::Run(index);
        self.block(body)?;
        self.bindings[var.index()] = Binding::Closed;

        let mut next = vec![];
        for (m, param) in moving.iter().zip(&params[1..]) {
            next.push(match m.step {
                Step::Bytes(bytes) => match i32::try_from(bytes) {
                    Ok(bytes) => self.b.push(Op::AddImm(bytes), &[*param]),
                    Err(_) => {
                        let bytes = self.b.push(Op::Const(bytes), &[]);
                        self.b.push(Op::Int(IntOp::Add), &[*param, bytes])
                    }
                },
                Step::Value(step) => self.b.push(Op::Int(IntOp::Add), &[*param, step]),
            });
        }
        next.extend(index.map(|i| self.b.push(Op::AddImm(1), &[i])));
        next.extend(carried.iter().map(|key| self.registers[key]));
        let left = self.b.push(Op::AddImm(-1), &[counter]);
        next.insert(0, left);
        let (latch, exit) = (self.b.block(), self.b.block());
        self.b.branch(left, latch, exit);
        self.b.switch(latch);
        self.b.jump(header, &next);
        self.b.switch(exit);
        if let Some(skip) = skip {
            let join = self.b.block();
            let after: Vec<Value> = carried.iter().map(|key| self.registers[key]).collect();
            self.b.jump(join, &after);
            self.b.switch(skip);
            self.b.jump(join, &before);
            for key in &carried {
                let ty = self.b.ty(self.registers[key]);
                let value = self.b.param(join, ty);
                self.registers.insert(*key, value);
            }
            self.b.switch(join);
        }
        self.pointers = outer_pointers;
        self.held = outer_held;
        self.registers.retain(|key, _| outer_registers.contains(key));
        self.forget();
        Ok(())
    }

    fn moving(&mut self, var: VarId, uses: &Uses) -> Vec<Moving> {
        let mut moving: Vec<Moving> = vec![];
        for (buffer, at) in &uses.accesses {
            let dynamic = self.split(at).dynamic;
            if !dynamic.uses(var) || moving.iter().any(|m| m.key == (*buffer, dynamic.clone())) {
                continue;
            }
            let size = self.size_of(*buffer);
            let terms: Vec<Term> = dynamic.terms().iter().filter(|t| t.var == Some(var)).copied().collect();
            let step = match dynamic.coefficient(var) {
                Some(c) => Step::Bytes(c * size),
                None => {
                    let mut step = Affine::default();
                    terms.iter().for_each(|t| step.add_term(Term { var: None, factor: t.factor * size, ..*t }));
                    Step::Value(self.integer(&step))
                }
            };
            moving.push(Moving { key: (*buffer, dynamic), step });
        }
        moving
    }

    /// Lanes are apart by a constant in every address.
    pub(super) fn constant_strides(&self, lane: VarId, body: &[Stmt]) -> Result<(), Unsupported> {
        let mut uses = Uses::default();
        self.collect(body, &mut uses);
        let addresses = uses.accesses.iter().map(|(_, at)| at).chain(&uses.indices);
        match addresses.into_iter().any(|a| a.coefficient(lane).is_none()) {
            true => unsupported("lanes apart by a size known only when running"),
            false => Ok(()),
        }
    }

    /// Pointers that stay in place in this loop but are not there yet: sums over sizes.
    fn settle_pointers(&mut self, uses: &Uses) {
        for (buffer, at) in &uses.accesses {
            let dynamic = self.split(at).dynamic;
            if !self.pointers.contains_key(&(*buffer, dynamic.clone())) && !dynamic.terms().is_empty() {
                let value = self.pointer(*buffer, &dynamic);
                self.pointers.insert((*buffer, dynamic), value);
            }
        }
    }

    fn needs_index(&self, var: VarId, uses: &Uses) -> bool {
        uses.indices.iter().any(|a| a.uses(var))
    }

    /// An innermost loop keeps its constants in registers, as far as there are some to spare.
    fn hold_constants(&mut self, uses: &Uses, carried: usize) {
        let spare = (if self.kernel.lanes == 16 { 26usize } else { 12 }).saturating_sub(carried);
        if uses.inner_loops {
            return;
        }
        let mut constants = uses.constants.clone();
        constants.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        for (constant, _) in constants.into_iter().take(spare) {
            if !self.held.contains_key(&constant) {
                let value = self.b.push(constant, &[]);
                self.held.insert(constant, value);
            }
        }
    }

    fn collect(&self, stmts: &[Stmt], uses: &mut Uses) {
        for stmt in stmts {
            match stmt {
                Stmt::Loop { var, body } => {
                    let kind = self.kernel.loops[var.index()].kind;
                    uses.inner_loops |= matches!(kind, LoopKind::Serial | LoopKind::Parallel);
                    self.collect(body, uses);
                }
                Stmt::Set { target, at, value, .. } => {
                    uses.targets.insert(*target);
                    if !self.is_register(*target) {
                        uses.accesses.insert((*target, at.clone()));
                    }
                    self.collect_expr(*value, uses);
                }
            }
        }
    }

    fn collect_expr(&self, value: ExprId, uses: &mut Uses) {
        self.kernel.exprs.walk(value, &mut |_, e| match e {
            Expr::Load { buffer, at, guard } => {
                if !self.is_register(*buffer)
                    && let Some(Subscript::Affine(a)) = at.first()
                {
                    uses.accesses.insert((*buffer, a.clone()));
                }
                if let Some(guard) = guard {
                    uses.indices.extend(guard.ranges.iter().map(|(a, _)| a.clone()));
                }
            }
            Expr::Index(a, _) => uses.indices.push(a.clone()),
            Expr::Const(l) if l.elem == kernel::Elem::F32 => uses.constant(Op::Splat((l.value() as f32).to_bits())),
            Expr::Lookup(table, _) => {
                for first in (0..table.entries().len()).step_by(self.kernel.lanes as usize) {
                    uses.constant(Op::Entries { table: *table, first: first as u8 });
                }
            }
            _ => {}
        });
    }
}

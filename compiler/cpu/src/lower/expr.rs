//! Statements and scalar expressions, one vector at a time.

use super::address::Split;
use super::{Active, Binding, Lane, Lower, Unsupported, unsupported};
use crate::vir::{Comparison, IntOp, MaskOp, Memory, Op, Reduction, Type, UnaryOp, Value, VecOp};
use engine::code::INDEX_OUT_OF_RANGE;
use kernel::functions::Table;
use kernel::scheduled::Stmt;
use kernel::{
    Affine, Binary, BufferId, Combine, Compare, Elem, Expr, ExprId, Extent, Guard, Literal, Subscript, Unary,
};

const SIGN: u32 = 0x8000_0000;

impl Lower<'_> {
    pub(super) fn set(&mut self, stmt: &Stmt) -> Result<(), Unsupported> {
        let Stmt::Set { target, at, combine, value, stream } = stmt else { return Ok(()) };
        self.known.clear();
        if self.is_register(*target) {
            return self.set_register(*target, at, *combine, *value);
        }
        let mut new = self.vector(*value)?;
        let split = self.split(at);
        let elem = self.kernel.storage[target.index()].elem;
        if let Some(op) = combine {
            let old = self.load_split(*target, &split, None)?;
            new = self.combine(*op, elem, old, new)?;
        }
        if split.lane == 2 && self.lane.is_some() {
            return self.store_by_turns(*target, at, &split, new);
        }
        self.store(*target, elem, &split, new, *stream)
    }

    fn set_register(
        &mut self,
        target: BufferId,
        at: &Affine,
        combine: Option<Combine>,
        value: ExprId,
    ) -> Result<(), Unsupported> {
        let key = (target, self.split(at).constant);
        let old = self.registers.get(&key).copied();
        let new = match (combine, old) {
            // Each accumulator gets a register of its own, not a copy of one.
            (None, _) if self.kernel.exprs.as_const(value).is_some() => {
                self.forget_constants();
                self.vector(value)?
            }
            (None, _) => self.vector(value)?,
            (Some(_), None) => return unsupported("a register that is combined before it is set"),
            (Some(op), Some(old)) => {
                let new = self.accumulate(op, old, value)?;
                // Lanes that are off keep what they had, if somebody will add them up.
                match self.active_mask()? {
                    Some(mask) if self.exact_lanes[target.index()] => self.select(mask, new, old),
                    _ => new,
                }
            }
        };
        self.registers.insert(key, new);
        Ok(())
    }

    fn accumulate(&mut self, op: Combine, old: Value, value: ExprId) -> Result<Value, Unsupported> {
        let elem = self.kernel.exprs.elem(value);
        if let (Combine::Sum, Expr::Binary(Binary::Mul, a, b), Elem::F32) = (op, &self.kernel.exprs[value], elem) {
            let (a, b) = (self.vector(*a)?, self.vector(*b)?);
            return Ok(self.pure(Op::FmaAcc, &[a, b, old]));
        }
        let new = self.vector(value)?;
        self.combine(op, elem, old, new)
    }

    fn combine(&mut self, op: Combine, elem: Elem, a: Value, b: Value) -> Result<Value, Unsupported> {
        if self.value_type(a) == Type::Mask {
            let op = if matches!(op, Combine::Max | Combine::Sum) { MaskOp::Or } else { MaskOp::And };
            return Ok(self.pure(Op::Mask(op), &[a, b]));
        }
        self.binary(op.binary(), elem, a, b)
    }

    /// Of two vectors or masks, lane by lane.
    fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        if self.value_type(a) != Type::Mask {
            return self.pure(Op::Select, &[mask, a, b]);
        }
        let yes = self.pure(Op::Mask(MaskOp::And), &[mask, a]);
        let no = self.pure(Op::Mask(MaskOp::AndNot), &[b, mask]);
        self.pure(Op::Mask(MaskOp::Or), &[yes, no])
    }

    /// The lanes that are on, as a mask; `None` if all are.
    fn active_mask(&mut self) -> Result<Option<Value>, Unsupported> {
        Ok(match self.lane {
            None | Some(Lane { active: Active::All, .. }) => None,
            Some(Lane { active: Active::First(n), .. }) => Some(self.pure(Op::MaskConst((1u32 << n) - 1), &[])),
            Some(Lane { active: Active::Run(n), .. }) => Some(self.pure(Op::MaskFirst, &[n])),
        })
    }

    fn store(
        &mut self,
        target: BufferId,
        elem: Elem,
        split: &Split,
        value: Value,
        stream: bool,
    ) -> Result<(), Unsupported> {
        let memory = memory(elem)?;
        let value = self.lanes_of(value);
        let mask = match (self.lane, split.lane) {
            // Outside vectors one element is stored.
            (None, _) | (Some(_), 0) => Some(self.pure(Op::MaskConst(1), &[])),
            (Some(_), 1) => self.active_mask()?,
            (Some(_), s) => return unsupported(format!("stores at stride {s}: stage them through a layout")),
        };
        let (pointer, disp) = self.place(target, split);
        // What was loaded from this buffer may be stale now.
        self.forget_loads_of(target);
        match mask {
            None if stream && memory == Memory::F32 => self.b.effect(Op::StoreStream { disp }, &[pointer, value]),
            None => {
                self.b.effect(Op::Store { memory, disp }, &[pointer, value]);
                if memory.size() == 4 {
                    self.numbers.insert((Op::Load { memory, disp }, vec![pointer]), value);
                }
            }
            Some(mask) => {
                self.b.effect(Op::Store { memory, disp }, &[pointer, value, mask]);
                if split.lane == 1 && memory.size() == 4 {
                    self.numbers.insert((Op::Load { memory, disp }, vec![pointer, mask]), value);
                }
            }
        }
        Ok(())
    }

    pub(super) fn forget_loads_of(&mut self, buffer: BufferId) {
        let base = self.bases[&buffer];
        let mut own: Vec<Value> = self.pointers.iter().filter(|((b, _), _)| *b == buffer).map(|(_, v)| *v).collect();
        own.push(base);
        // A pointer made here by value numbering belongs to no table: then every load goes.
        let known: Vec<Value> = self.pointers.values().copied().chain(self.bases.values().copied()).collect();
        self.numbers.retain(|(op, operands), _| {
            !matches!(op, Op::Load { .. } | Op::Broadcast { .. } | Op::Gather { .. })
                || (known.contains(&operands[0]) && !own.contains(&operands[0]))
        });
    }

    /// A condition as 0 and 1 in i32 lanes; vectors as they are.
    fn lanes_of(&mut self, value: Value) -> Value {
        if self.value_type(value) != Type::Mask {
            return value;
        }
        let (one, zero) = (self.splat(1), self.splat(0));
        self.pure(Op::Select, &[value, one, zero])
    }

    fn as_mask(&mut self, value: Value, elem: Elem) -> Value {
        if self.value_type(value) == Type::Mask {
            return value;
        }
        let zero = self.splat(0);
        let equal = if elem == Elem::F32 { Comparison::Eq } else { Comparison::EqI };
        let zeros = self.pure(Op::Compare(equal), &[value, zero]);
        let all = self.pure(Op::MaskConst(u32::MAX), &[]);
        self.pure(Op::Mask(MaskOp::AndNot), &[all, zeros])
    }

    /// The value of an expression in every lane: a vector, or a mask for bool.
    pub(super) fn vector(&mut self, id: ExprId) -> Result<Value, Unsupported> {
        if let Some(value) = self.known.get(&id) {
            return Ok(*value);
        }
        let value = self.unknown_vector(id)?;
        self.known.insert(id, value);
        Ok(value)
    }

    fn unknown_vector(&mut self, id: ExprId) -> Result<Value, Unsupported> {
        let exprs = &self.kernel.exprs;
        let elem = exprs.elem(id);
        match &exprs[id] {
            Expr::Const(literal) => self.constant(*literal),
            Expr::Index(index, elem) => self.index(index, *elem),
            Expr::Load { buffer, at, guard } => self.load(*buffer, at, guard.as_ref()),
            Expr::Unary(op, a) => self.unary(*op, *a),
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.vector(*a)?, self.vector(*b)?);
                if elem == Elem::Bool {
                    let op = match op {
                        Binary::And | Binary::Mul | Binary::Min => MaskOp::And,
                        Binary::Or | Binary::Add | Binary::Max => MaskOp::Or,
                        Binary::Xor => MaskOp::Xor,
                        op => return unsupported(format!("{op:?} on bool")),
                    };
                    return Ok(self.pure(Op::Mask(op), &[a, b]));
                }
                self.binary(*op, elem, a, b)
            }
            Expr::Fma(a, b, c) => {
                let in_place = exprs.as_const(*c).is_some();
                let (a, b, c) = (self.vector(*a)?, self.vector(*b)?, self.vector(*c)?);
                Ok(self.pure(if in_place { Op::Fma } else { Op::FmaAcc }, &[a, b, c]))
            }
            Expr::Compare(op, a, b) => {
                let elem = exprs.elem(*a);
                let (a, b) = (self.vector(*a)?, self.vector(*b)?);
                self.compare(*op, elem, a, b)
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.vector(*c)?, self.vector(*a)?, self.vector(*b)?);
                Ok(self.select(c, a, b))
            }
            Expr::Cast(to, a) => self.cast(*to, *a),
            Expr::Lookup(table, a) => {
                let index = self.vector(*a)?;
                Ok(self.lookup(*table, index, 0, table.entries().len() as i64))
            }
            Expr::Checked(..) => unsupported("a checked index as a value"),
            Expr::Reduce { op, axes, body } => self.reduce(*op, axes, *body),
        }
    }

    /// The entry at the low bits of each lane of `index`, out of `count` from `first` on: one permutation where a vector
    /// holds as many, else the choice between two halves.
    fn lookup(&mut self, table: Table, index: Value, first: i64, count: i64) -> Value {
        if count == self.kernel.lanes {
            let entries = self.held(Op::Entries { table, first: first as u8 });
            return self.pure(Op::Permute, &[entries, index]);
        }
        let half = count / 2;
        let (low, high) = (self.lookup(table, index, first, half), self.lookup(table, index, first + half, half));
        let bit = self.splat(half as u32);
        let upper = self.pure(Op::Vec(VecOp::And), &[index, bit]);
        let upper = self.pure(Op::Compare(Comparison::EqI), &[upper, bit]);
        self.select(upper, high, low)
    }

    fn constant(&mut self, literal: Literal) -> Result<Value, Unsupported> {
        match literal.elem {
            Elem::F32 => Ok(self.splat((literal.value() as f32).to_bits())),
            Elem::Bool => Ok(self.pure(Op::MaskConst(if literal.bits != 0 { u32::MAX } else { 0 }), &[])),
            Elem::U32 => Ok(self.splat(literal.bits as u32)),
            Elem::F16 | Elem::Bf16 => {
                let value = self.splat((literal.value() as f32).to_bits());
                Ok(self.to_half(literal.elem, value))
            }
            Elem::F64 => unsupported("f64 constants"),
            _ => match i32::try_from(literal.bits as i64) {
                Ok(n) => Ok(self.splat(n as u32)),
                Err(_) => unsupported(format!("the constant {} in a vector", literal.bits as i64)),
            },
        }
    }

    /// Index values as i32 lanes.
    fn index_lanes(&mut self, index: &Affine) -> Value {
        let split = self.split(index);
        let mut rest = split.dynamic.clone();
        rest.constant = split.constant;
        let mut value = match rest.as_constant() {
            Some(c) => self.splat(c as i32 as u32),
            None => {
                let n = self.integer(&rest);
                self.pure(Op::SplatInt, &[n])
            }
        };
        if split.lane != 0 {
            let mut lanes = self.iota();
            if split.lane != 1 {
                let factor = self.splat(split.lane as i32 as u32);
                lanes = self.pure(Op::Vec(VecOp::MulI), &[lanes, factor]);
            }
            value = self.pure(Op::Vec(VecOp::AddI), &[value, lanes]);
        }
        value
    }

    fn index(&mut self, index: &Affine, elem: Elem) -> Result<Value, Unsupported> {
        let value = self.index_lanes(index);
        match elem {
            Elem::F32 => Ok(self.pure(Op::Unary(UnaryOp::ToFloat), &[value])),
            Elem::I64 => Ok(value),
            elem if is_lane_integer(elem) => Ok(self.wrapped(value, elem)),
            elem => unsupported(format!("indices as {elem}")),
        }
    }

    fn load(&mut self, buffer: BufferId, at: &[Subscript], guard: Option<&Guard>) -> Result<Value, Unsupported> {
        let Some(Subscript::Affine(flat)) = at.first() else { return unsupported("a load without an address") };
        let split = self.split(flat);
        if self.waiting.iter().any(|w| w.target == buffer) {
            return unsupported("a load of what is stored by turns");
        }
        if self.is_register(buffer) {
            return match self.registers.get(&(buffer, split.constant)) {
                Some(value) => Ok(*value),
                None => unsupported(format!("`{}` is read before it is set", self.kernel.storage[buffer.index()].name)),
            };
        }
        let inside = match guard {
            None => None,
            Some(guard) => match self.guard_mask(guard)? {
                Decided::Never => return self.constant(guard.otherwise),
                Decided::Always => None,
                Decided::Where(mask) => Some((mask, guard.otherwise)),
            },
        };
        let data: Vec<ExprId> =
            at[1..].iter().filter_map(|s| if let Subscript::Data(e) = s { Some(*e) } else { None }).collect();
        let value = match (&inside, data.is_empty()) {
            (None, true) => return self.load_split(buffer, &split, guard.is_none().then_some(flat)),
            (mask, _) => self.load_general(buffer, &split, &data, mask.map(|(m, _)| m))?,
        };
        let Some((mask, otherwise)) = inside else { return Ok(value) };
        if otherwise.value() == 0.0 {
            return Ok(value);
        }
        let otherwise = self.constant(otherwise)?;
        Ok(self.pure(Op::Select, &[mask, value, otherwise]))
    }

    /// `flat` is the address where all iterations of the open loops read.
    fn load_split(&mut self, buffer: BufferId, split: &Split, flat: Option<&Affine>) -> Result<Value, Unsupported> {
        let elem = self.kernel.storage[buffer.index()].elem;
        let memory = memory(elem)?;
        let value = match (self.lane, split.lane) {
            (None, _) | (_, 0) => {
                let (pointer, disp) = self.place(buffer, split);
                self.pure(Op::Broadcast { memory, disp }, &[pointer])
            }
            (Some(_), 1) => {
                let mask = self.active_mask()?;
                let (pointer, disp) = self.place(buffer, split);
                let operands: Vec<Value> = [pointer].into_iter().chain(mask).collect();
                self.prefetch(buffer, pointer, disp, &operands);
                self.pure(Op::Load { memory, disp }, &operands)
            }
            _ => match flat.and_then(|flat| self.load_transposed(buffer, split, memory, flat)) {
                Some(value) => value,
                None => return self.load_general(buffer, split, &[], None),
            },
        };
        Ok(self.typed(value, elem))
    }

    /// Fetches what a buffer has further on, where this vector is loaded for the first time.
    fn prefetch(&mut self, buffer: BufferId, pointer: Value, disp: i32, operands: &[Value]) {
        let storage = &self.kernel.storage[buffer.index()];
        let ahead = storage.prefetch * self.size_of(buffer);
        let Ok(memory) = memory(storage.elem) else { return };
        if ahead == 0 || self.numbers.contains_key(&(Op::Load { memory, disp }, operands.to_vec())) {
            return;
        }
        if let Ok(disp) = i32::try_from(disp as i64 + ahead) {
            self.b.effect(Op::Prefetch { disp }, &[pointer]);
        }
    }

    fn typed(&mut self, value: Value, elem: Elem) -> Value {
        match elem {
            Elem::Bool => self.as_mask(value, elem),
            Elem::I8 | Elem::I16 => self.wrapped(value, elem),
            _ => value,
        }
    }

    /// Loads with an index from data, with a mask, or at a stride.
    fn load_general(
        &mut self,
        buffer: BufferId,
        split: &Split,
        data: &[ExprId],
        mask: Option<Value>,
    ) -> Result<Value, Unsupported> {
        let elem = self.kernel.storage[buffer.index()].elem;
        let memory = memory(elem)?;
        let (mut pointer, disp) = self.place(buffer, split);
        let mut lanes: Option<Value> = None;
        for e in data {
            if self.varies(*e) {
                let index = self.checked_lanes(*e)?;
                lanes = Some(match lanes {
                    Some(sum) => self.pure(Op::Vec(VecOp::AddI), &[sum, index]),
                    None => index,
                });
            } else {
                let index = self.scalar(*e)?;
                let offset = self.pure(Op::MulImm(memory.size() as i32), &[index]);
                pointer = self.pure(Op::Int(IntOp::Add), &[pointer, offset]);
            }
        }
        let stride = if self.lane.is_some() { split.lane } else { 0 };
        let active = match (mask, self.active_mask()?) {
            (Some(a), Some(b)) => Some(match (self.bits(a), self.bits(b)) {
                (Some(a), Some(b)) => self.pure(Op::MaskConst(a & b), &[]),
                _ => self.pure(Op::Mask(MaskOp::And), &[a, b]),
            }),
            (a, b) => a.or(b),
        };
        if let (None, 2, 4) = (lanes, stride, memory.size())
            && let Some(bits) = active.map_or(Some(u32::MAX), |mask| self.bits(mask))
        {
            let value = self.load_every_second(buffer, split, memory, bits);
            return Ok(self.typed(value, elem));
        }
        let value = match (lanes, stride, active) {
            (None, 0, None) => self.pure(Op::Broadcast { memory, disp }, &[pointer]),
            (None, 1, None) => self.pure(Op::Load { memory, disp }, &[pointer]),
            (None, 1, Some(mask)) => self.pure(Op::Load { memory, disp }, &[pointer, mask]),
            (lanes, stride, mask) => {
                if memory.size() != 4 {
                    return unsupported(format!("{elem} read at strides or by index"));
                }
                let steps = match stride {
                    0 => None,
                    1 => Some(self.iota()),
                    s => {
                        let (iota, s) = (self.iota(), self.splat(s as i32 as u32));
                        Some(self.pure(Op::Vec(VecOp::MulI), &[iota, s]))
                    }
                };
                let index = match (lanes, steps) {
                    (Some(a), Some(b)) => self.pure(Op::Vec(VecOp::AddI), &[a, b]),
                    (Some(a), None) | (None, Some(a)) => a,
                    (None, None) => self.splat(0),
                };
                let mask = match mask {
                    Some(mask) => mask,
                    None => self.pure(Op::MaskConst(u32::MAX), &[]),
                };
                self.pure(Op::Gather { disp }, &[pointer, index, mask])
            }
        };
        Ok(self.typed(value, elem))
    }

    /// The lanes of a mask that is known.
    fn bits(&self, mask: Value) -> Option<u32> {
        self.numbers.iter().find_map(|((op, _), value)| match op {
            Op::MaskConst(bits) if *value == mask => Some(*bits),
            _ => None,
        })
    }

    /// Whether an expression differs between lanes.
    fn varies(&self, root: ExprId) -> bool {
        let mut varies = false;
        let lane = |a: &Affine| a.vars().any(|v| self.bindings[v.index()] == Binding::Lanes);
        self.kernel.exprs.walk(root, &mut |_, e| {
            varies |= match e {
                Expr::Index(a, _) => lane(a),
                Expr::Load { at, .. } => at.iter().any(|s| s.as_affine().is_some_and(lane)),
                _ => false,
            }
        });
        varies
    }

    /// An integer expression that is the same in all lanes, in a general register.
    fn scalar(&mut self, id: ExprId) -> Result<Value, Unsupported> {
        let exprs = &self.kernel.exprs;
        match &exprs[id] {
            Expr::Const(l) => Ok(self.pure(Op::Const(l.bits as i64), &[])),
            Expr::Index(a, _) => Ok(self.integer(a)),
            Expr::Cast(_, a) if !exprs.elem(*a).is_float() => self.scalar(*a),
            Expr::Checked(a, extent) => {
                let value = self.scalar(*a)?;
                Ok(self.checked(value, *extent))
            }
            Expr::Load { buffer, at, guard: None } if at.len() == 1 && !self.is_register(*buffer) => {
                let Some(a) = at[0].as_affine() else { return unsupported("an index read by an index read from data") };
                let split = self.split(a);
                let (pointer, disp) = self.place(*buffer, &split);
                let op = match self.kernel.storage[buffer.index()].elem {
                    Elem::I64 | Elem::U64 => Op::LoadI64(disp),
                    Elem::I32 => Op::LoadI32(disp),
                    Elem::U8 | Elem::Bool => Op::LoadU8(disp),
                    elem => return unsupported(format!("indices of type {elem}")),
                };
                Ok(self.b.push(op, &[pointer]))
            }
            Expr::Binary(op, a, b) => {
                let op = match op {
                    Binary::Add => IntOp::Add,
                    Binary::Sub => IntOp::Sub,
                    Binary::Mul => IntOp::Mul,
                    Binary::Min => IntOp::Min,
                    Binary::Max => IntOp::Max,
                    op => return unsupported(format!("{op:?} on indices")),
                };
                let (a, b) = (self.scalar(*a)?, self.scalar(*b)?);
                Ok(self.pure(Op::Int(op), &[a, b]))
            }
            _ => unsupported("this expression as an index"),
        }
    }

    /// An index in range; one that is not becomes the nearest, and the call's error word is set.
    fn checked(&mut self, value: Value, extent: Extent) -> Value {
        let last = match extent {
            Extent::Const(n) => self.pure(Op::Const(n - 1), &[]),
            Extent::Size(s) => {
                let size = self.size(s);
                self.pure(Op::AddImm(-1), &[size])
            }
        };
        let zero = self.pure(Op::Const(0), &[]);
        let low = self.pure(Op::Int(IntOp::Max), &[value, zero]);
        let clamped = self.pure(Op::Int(IntOp::Min), &[low, last]);
        // The sign of what differs, or of its negative, as the lowest bit.
        let differs = self.pure(Op::Int(IntOp::Xor), &[value, clamped]);
        let minus = self.pure(Op::Int(IntOp::Sub), &[zero, differs]);
        let either = self.pure(Op::Int(IntOp::Or), &[differs, minus]);
        let wrong = self.pure(Op::ShrImm(63), &[either]);
        let before = self.b.push(Op::LoadI64(0), &[self.error]);
        let after = self.b.push(Op::Int(IntOp::Or), &[before, wrong]);
        self.b.effect(Op::StoreI64(0), &[self.error, after]);
        clamped
    }

    /// Checked indices that differ between lanes, as i32.
    fn checked_lanes(&mut self, id: ExprId) -> Result<Value, Unsupported> {
        let exprs = &self.kernel.exprs;
        match &exprs[id] {
            Expr::Checked(a, extent) => {
                let value = self.checked_lanes(*a)?;
                let last = match extent {
                    Extent::Const(n) => self.splat((*n - 1) as i32 as u32),
                    Extent::Size(s) => {
                        let size = self.size(*s);
                        let last = self.pure(Op::AddImm(-1), &[size]);
                        self.pure(Op::SplatInt, &[last])
                    }
                };
                let zero = self.splat(0);
                let low = self.pure(Op::Vec(VecOp::MaxI), &[value, zero]);
                let clamped = self.pure(Op::Vec(VecOp::MinI), &[low, last]);
                let changed = self.pure(Op::Compare(Comparison::EqI), &[value, clamped]);
                self.flag_lanes(changed)?;
                Ok(clamped)
            }
            Expr::Binary(Binary::Mul, a, b) => {
                let (a, b) = (self.checked_lanes(*a)?, self.checked_lanes(*b)?);
                Ok(self.pure(Op::Vec(VecOp::MulI), &[a, b]))
            }
            Expr::Cast(_, a) if !exprs.elem(*a).is_float() => self.checked_lanes(*a),
            _ => self.vector(id),
        }
    }

    /// Sets the error word unless all active lanes are `good`.
    fn flag_lanes(&mut self, good: Value) -> Result<(), Unsupported> {
        let all = match self.active_mask()? {
            Some(mask) => mask,
            None => self.pure(Op::MaskConst(u32::MAX), &[]),
        };
        let bad = self.pure(Op::Mask(MaskOp::AndNot), &[all, good]);
        let (one, zero) = (self.splat(INDEX_OUT_OF_RANGE as u32), self.splat(0));
        let flags = self.pure(Op::Select, &[bad, one, zero]);
        // Stored over the error word where a lane is wrong.
        let first = self.pure(Op::MaskConst(1), &[]);
        let worst = self.pure(Op::Reduce(Reduction::MaxI), &[flags]);
        let wrong = self.pure(Op::Compare(Comparison::EqI), &[worst, one]);
        let mask = self.pure(Op::Mask(MaskOp::And), &[wrong, first]);
        self.b.effect(Op::Store { memory: Memory::I32, disp: 0 }, &[self.error, worst, mask]);
        Ok(())
    }

    fn guard_mask(&mut self, guard: &Guard) -> Result<Decided, Unsupported> {
        let mut constant = u32::MAX;
        let mut dynamic: Option<Value> = None;
        for (index, extent) in &guard.ranges {
            let split = self.split(index);
            if let (true, Extent::Const(n)) = (split.dynamic.terms().is_empty(), extent) {
                let lanes = if self.lane.is_some() { self.kernel.lanes } else { 1 };
                for i in 0..lanes {
                    if !(0..*n).contains(&(split.constant + split.lane * i)) {
                        constant &= !(1 << i);
                    }
                }
                if split.lane == 0 && constant & 1 == 0 {
                    constant = 0;
                }
                continue;
            }
            let value = self.index_lanes(index);
            let limit = match extent {
                Extent::Const(n) => self.splat(*n as i32 as u32),
                Extent::Size(s) => {
                    let size = self.size(*s);
                    self.pure(Op::SplatInt, &[size])
                }
            };
            let minus = self.splat(-1i32 as u32);
            let low = self.pure(Op::Compare(Comparison::LtI), &[minus, value]);
            let high = self.pure(Op::Compare(Comparison::LtI), &[value, limit]);
            let both = self.pure(Op::Mask(MaskOp::And), &[low, high]);
            dynamic = Some(match dynamic {
                Some(mask) => self.pure(Op::Mask(MaskOp::And), &[mask, both]),
                None => both,
            });
        }
        let all = ((1u64 << self.kernel.lanes) - 1) as u32;
        // Lanes that are off do not matter, and fewer masks are better.
        let relevant = match self.lane {
            None => 1,
            Some(Lane { active: Active::First(n), .. }) => (1u32 << n) - 1,
            Some(_) => all,
        };
        Ok(match (constant & relevant, dynamic) {
            (0, _) => Decided::Never,
            (c, None) if c == relevant => Decided::Always,
            (c, None) => Decided::Where(self.pure(Op::MaskConst(c), &[])),
            (c, Some(mask)) if c == relevant => Decided::Where(mask),
            (c, Some(mask)) => {
                let c = self.pure(Op::MaskConst(c), &[]);
                Decided::Where(self.pure(Op::Mask(MaskOp::And), &[c, mask]))
            }
        })
    }

    fn unary(&mut self, op: Unary, a: ExprId) -> Result<Value, Unsupported> {
        let elem = self.kernel.exprs.elem(a);
        let a = self.vector(a)?;
        let float = |op| Ok(Op::Unary(op));
        let op = match (op, elem) {
            (Unary::Neg, Elem::F32) => {
                let sign = self.splat(SIGN);
                return Ok(self.pure(Op::Vec(VecOp::Xor), &[a, sign]));
            }
            (Unary::Abs, Elem::F32) => {
                let rest = self.splat(!SIGN);
                return Ok(self.pure(Op::Vec(VecOp::And), &[a, rest]));
            }
            (Unary::Neg, elem) if is_lane_integer(elem) => {
                let zero = self.splat(0);
                return self.binary(Binary::Sub, elem, zero, a);
            }
            (Unary::Abs, elem) if is_lane_integer(elem) && elem.is_signed() => {
                let zero = self.splat(0);
                let minus = self.binary(Binary::Sub, elem, zero, a)?;
                return self.binary(Binary::Max, elem, a, minus);
            }
            (Unary::Abs, elem) if is_lane_integer(elem) => return Ok(a),
            (Unary::Not, Elem::Bool) => {
                let all = self.pure(Op::MaskConst(u32::MAX), &[]);
                return Ok(self.pure(Op::Mask(MaskOp::AndNot), &[all, a]));
            }
            (Unary::Not, elem) if is_lane_integer(elem) => {
                let ones = self.splat(u32::MAX);
                let turned = self.pure(Op::Vec(VecOp::Xor), &[a, ones]);
                return Ok(self.wrapped(turned, elem));
            }
            (Unary::Bits | Unary::FromBits, _) => return Ok(a),
            (Unary::Sqrt, Elem::F32) => float(UnaryOp::Sqrt),
            (Unary::Floor, Elem::F32) => float(UnaryOp::Floor),
            (Unary::Ceil, Elem::F32) => float(UnaryOp::Ceil),
            (Unary::Round, Elem::F32) => float(UnaryOp::Round),
            (Unary::Trunc, Elem::F32) => float(UnaryOp::Trunc),
            (op, elem) => unsupported(format!("{op:?} on {elem}")),
        }?;
        Ok(self.pure(op, &[a]))
    }

    fn compare(&mut self, op: Compare, elem: Elem, a: Value, b: Value) -> Result<Value, Unsupported> {
        let all = |l: &mut Self| l.pure(Op::MaskConst(u32::MAX), &[]);
        let (a, b) = if elem == Elem::U32 { self.unsigned_order(a, b) } else { (a, b) };
        let elem = if is_lane_integer(elem) { Elem::I32 } else { elem };
        let op = match (op, elem) {
            (Compare::Eq, Elem::F32) => Comparison::Eq,
            (Compare::Ne, Elem::F32) => Comparison::Ne,
            (Compare::Lt, Elem::F32) => Comparison::Lt,
            (Compare::Le, Elem::F32) => Comparison::Le,
            (Compare::Eq, Elem::I32 | Elem::I64) => Comparison::EqI,
            (Compare::Lt, Elem::I32 | Elem::I64) => Comparison::LtI,
            (Compare::Ne, Elem::I32 | Elem::I64) => {
                let equal = self.pure(Op::Compare(Comparison::EqI), &[a, b]);
                let all = all(self);
                return Ok(self.pure(Op::Mask(MaskOp::AndNot), &[all, equal]));
            }
            (Compare::Le, Elem::I32 | Elem::I64) => {
                let greater = self.pure(Op::Compare(Comparison::LtI), &[b, a]);
                let all = all(self);
                return Ok(self.pure(Op::Mask(MaskOp::AndNot), &[all, greater]));
            }
            (Compare::Ne, Elem::Bool) => return Ok(self.pure(Op::Mask(MaskOp::Xor), &[a, b])),
            (Compare::Eq, Elem::Bool) => {
                let differ = self.pure(Op::Mask(MaskOp::Xor), &[a, b]);
                let all = all(self);
                return Ok(self.pure(Op::Mask(MaskOp::AndNot), &[all, differ]));
            }
            (op, elem) => return unsupported(format!("{op:?} on {elem}")),
        };
        Ok(self.pure(Op::Compare(op), &[a, b]))
    }

    fn cast(&mut self, to: Elem, a: ExprId) -> Result<Value, Unsupported> {
        let from = self.kernel.exprs.elem(a);
        let a = self.vector(a)?;
        match (from, to) {
            (Elem::Bool, Elem::F32) => {
                let (one, zero) = (self.splat(1f32.to_bits()), self.splat(0));
                Ok(self.pure(Op::Select, &[a, one, zero]))
            }
            (Elem::Bool, to) if is_lane_integer(to) => Ok(self.lanes_of(a)),
            (from, Elem::Bool) => Ok(self.as_mask(a, from)),
            (Elem::U32, Elem::F32) => {
                // Both halves are exact, and so is their sum but for one rounding.
                let (bits, rest, factor) = (self.splat(16), self.splat(0xffff), self.splat(65536f32.to_bits()));
                let upper = self.pure(Op::Vec(VecOp::Shr), &[a, bits]);
                let halves = [upper, a].map(|half| {
                    let half = self.pure(Op::Vec(VecOp::And), &[half, rest]);
                    self.pure(Op::Unary(UnaryOp::ToFloat), &[half])
                });
                Ok(self.pure(Op::FmaAcc, &[halves[0], factor, halves[1]]))
            }
            (Elem::F32, Elem::U32) => {
                let (half, sign) = (self.splat(2147483648f32.to_bits()), self.splat(SIGN));
                let small = self.pure(Op::Compare(Comparison::Lt), &[a, half]);
                let rest = self.pure(Op::Vec(VecOp::Sub), &[a, half]);
                let [whole, rest] = [a, rest].map(|x| self.pure(Op::Unary(UnaryOp::ToInt), &[x]));
                let large = self.pure(Op::Vec(VecOp::Xor), &[rest, sign]);
                Ok(self.pure(Op::Select, &[small, whole, large]))
            }
            (from, Elem::F32) if is_lane_integer(from) => Ok(self.pure(Op::Unary(UnaryOp::ToFloat), &[a])),
            (Elem::F32, to) if is_lane_integer(to) => {
                let whole = self.pure(Op::Unary(UnaryOp::ToInt), &[a]);
                Ok(self.wrapped(whole, to))
            }
            (Elem::F16 | Elem::Bf16, Elem::F32) => Ok(self.from_half(from, a)),
            (Elem::F32, Elem::F16 | Elem::Bf16) => Ok(self.to_half(to, a)),
            (from, to) if (is_lane_integer(from) || from == Elem::I64) && is_lane_integer(to) => {
                Ok(self.wrapped(a, to))
            }
            (from, Elem::I64) if is_lane_integer(from) && from != Elem::U32 => Ok(a),
            (from, to) => unsupported(format!("casts from {from} to {to}")),
        }
    }

    /// An operation on floats of 32 bits or on integers that lanes hold.
    fn binary(&mut self, op: Binary, elem: Elem, a: Value, b: Value) -> Result<Value, Unsupported> {
        if elem == Elem::U32 {
            match op {
                Binary::Min | Binary::Max => {
                    let (a, b) = self.unsigned_order(a, b);
                    let chosen = self.binary(op, Elem::I32, a, b)?;
                    let sign = self.splat(SIGN);
                    return Ok(self.pure(Op::Vec(VecOp::Xor), &[chosen, sign]));
                }
                Binary::Shr => return Ok(self.shift_zeros_in(a, b)),
                _ => {}
            }
        }
        let op = vec_op(op, if is_lane_integer(elem) { Elem::I32 } else { elem })?;
        let value = self.pure(Op::Vec(op), &[a, b]);
        Ok(self.wrapped(value, elem))
    }

    /// Two u32 as integers with a sign in the same order.
    fn unsigned_order(&mut self, a: Value, b: Value) -> (Value, Value) {
        let sign = self.splat(SIGN);
        (self.pure(Op::Vec(VecOp::Xor), &[a, sign]), self.pure(Op::Vec(VecOp::Xor), &[b, sign]))
    }

    /// A shift to the right that does not repeat the sign: what was shifted in is taken off.
    fn shift_zeros_in(&mut self, a: Value, count: Value) -> Value {
        let (ones, last, one) = (self.splat(u32::MAX), self.splat(31), self.splat(1));
        let shifted = self.pure(Op::Vec(VecOp::Shr), &[a, count]);
        let left = self.pure(Op::Vec(VecOp::SubI), &[last, count]);
        let above = self.pure(Op::Vec(VecOp::Shl), &[ones, left]);
        let above = self.pure(Op::Vec(VecOp::Shl), &[above, one]);
        let below = self.pure(Op::Vec(VecOp::Xor), &[above, ones]);
        self.pure(Op::Vec(VecOp::And), &[shifted, below])
    }

    /// A lane as an integer of this type holds it, by its lower bits.
    fn wrapped(&mut self, value: Value, elem: Elem) -> Value {
        match elem {
            Elem::U8 | Elem::U16 => {
                let rest = self.splat(if elem == Elem::U8 { 0xff } else { 0xffff });
                self.pure(Op::Vec(VecOp::And), &[value, rest])
            }
            Elem::I8 | Elem::I16 => {
                let bits = self.splat(if elem == Elem::I8 { 24 } else { 16 });
                let up = self.pure(Op::Vec(VecOp::Shl), &[value, bits]);
                self.pure(Op::Vec(VecOp::Shr), &[up, bits])
            }
            _ => value,
        }
    }

    /// The bits of f16 or bf16 as f32.
    fn from_half(&mut self, elem: Elem, bits: Value) -> Value {
        let vec = |l: &mut Self, op, a, b| l.pure(Op::Vec(op), &[a, b]);
        let sixteen = self.splat(16);
        let upper = vec(self, VecOp::Shl, bits, sixteen);
        if elem == Elem::Bf16 {
            return upper;
        }
        // The fraction and exponent moved to their places are the number but for a factor of 2^112, subnormal numbers
        // too; the greatest exponent stays the greatest.
        let (most, thirteen, factor) = (self.splat(0x7fff), self.splat(13), self.splat(2f32.powi(112).to_bits()));
        let (last, infinity, sign) = (self.splat(0x7bff), self.splat(f32::INFINITY.to_bits()), self.splat(SIGN));
        let magnitude = vec(self, VecOp::And, bits, most);
        let moved = vec(self, VecOp::Shl, magnitude, thirteen);
        let number = vec(self, VecOp::Mul, moved, factor);
        let beyond = vec(self, VecOp::Or, moved, infinity);
        let is_beyond = self.pure(Op::Compare(Comparison::LtI), &[last, magnitude]);
        let value = self.pure(Op::Select, &[is_beyond, beyond, number]);
        let sign = vec(self, VecOp::And, upper, sign);
        vec(self, VecOp::Or, value, sign)
    }

    /// The bits of f16 or bf16 nearest to an f32, halves to even.
    fn to_half(&mut self, elem: Elem, value: Value) -> Value {
        let vec = |l: &mut Self, op, a, b| l.pure(Op::Vec(op), &[a, b]);
        let (one, rest, sixteen) = (self.splat(1), self.splat(0xffff), self.splat(16));
        let upper = vec(self, VecOp::Shr, value, sixteen);
        if elem == Elem::Bf16 {
            let (half, quiet) = (self.splat(0x7fff), self.splat(0x40));
            let odd = vec(self, VecOp::And, upper, one);
            let sum = vec(self, VecOp::AddI, value, half);
            let sum = vec(self, VecOp::AddI, sum, odd);
            let rounded = vec(self, VecOp::Shr, sum, sixteen);
            let nan = vec(self, VecOp::Or, upper, quiet);
            let is_nan = self.pure(Op::Compare(Comparison::Ne), &[value, value]);
            let bits = self.pure(Op::Select, &[is_nan, nan, rounded]);
            return vec(self, VecOp::And, bits, rest);
        }
        let magnitude = self.splat(!SIGN);
        let magnitude = vec(self, VecOp::And, value, magnitude);
        // Below 2^-14 adding a half leaves the rounded fraction in the lowest bits.
        let half = self.splat(0.5f32.to_bits());
        let sum = vec(self, VecOp::Add, magnitude, half);
        let subnormal = vec(self, VecOp::SubI, sum, half);
        // Above, the exponent changes its origin, and what is cut off is rounded by what carries over.
        let (thirteen, origin) = (self.splat(13), self.splat(0xc800_0fff));
        let kept = vec(self, VecOp::Shr, magnitude, thirteen);
        let odd = vec(self, VecOp::And, kept, one);
        let sum = vec(self, VecOp::AddI, magnitude, origin);
        let sum = vec(self, VecOp::AddI, sum, odd);
        let normal = vec(self, VecOp::Shr, sum, thirteen);
        let mut less = |below: Value, limit: u32, other: u32| {
            let (limit, other) = (self.splat(limit), self.splat(other));
            let is_below = self.pure(Op::Compare(Comparison::LtI), &[magnitude, limit]);
            self.pure(Op::Select, &[is_below, below, other])
        };
        let finite = less(normal, 0x477f_f000, 0x7c00);
        let number = less(finite, 0x7f80_0001, 0x7e00);
        let limit = self.splat(0x3880_0000);
        let is_subnormal = self.pure(Op::Compare(Comparison::LtI), &[magnitude, limit]);
        let bits = self.pure(Op::Select, &[is_subnormal, subnormal, number]);
        let sign = self.splat(0x8000);
        let sign = self.pure(Op::Vec(VecOp::And), &[upper, sign]);
        self.pure(Op::Vec(VecOp::Or), &[bits, sign])
    }

    fn reduce(&mut self, op: Combine, axes: &[kernel::VarId], body: ExprId) -> Result<Value, Unsupported> {
        let [axis] = axes else { return unsupported("a reduction over several loops at once") };
        if self.kernel.loops[axis.index()].extent != Extent::Const(self.kernel.lanes) {
            return unsupported("a reduction over part of a vector");
        }
        let elem = self.kernel.exprs.elem(body);
        let op = match (op, elem) {
            (Combine::Max | Combine::Sum, Elem::Bool) => Reduction::MaxI,
            (Combine::Min | Combine::Prod, Elem::Bool) => Reduction::MinI,
            (Combine::Sum, Elem::F32) => Reduction::Sum,
            (Combine::Prod, Elem::F32) => Reduction::Prod,
            (Combine::Max, Elem::F32) => Reduction::Max,
            (Combine::Min, Elem::F32) => Reduction::Min,
            (Combine::Sum, Elem::I32) => Reduction::SumI,
            (Combine::Prod, Elem::I32) => Reduction::ProdI,
            (Combine::Max, Elem::I32) => Reduction::MaxI,
            (Combine::Min, Elem::I32) => Reduction::MinI,
            _ => return unsupported(format!("reductions of {elem} across a vector")),
        };
        let outside = self.lane.replace(Lane { var: *axis, active: Active::All });
        self.bindings[axis.index()] = Binding::Lanes;
        let known = std::mem::take(&mut self.known);
        let value = self.vector(body);
        self.known = known;
        self.bindings[axis.index()] = Binding::Closed;
        self.lane = outside;
        let value = self.lanes_of(value?);
        let total = self.pure(Op::Reduce(op), &[value]);
        Ok(if elem == Elem::Bool { self.as_mask(total, elem) } else { total })
    }
}

/// Integers that a lane of 32 bits holds as they are.
fn is_lane_integer(elem: Elem) -> bool {
    elem.is_int() && elem.size() <= 4
}

enum Decided {
    Always,
    Never,
    Where(Value),
}

pub(super) fn memory(elem: Elem) -> Result<Memory, Unsupported> {
    match elem {
        Elem::F32 => Ok(Memory::F32),
        Elem::I32 | Elem::U32 => Ok(Memory::I32),
        Elem::U8 | Elem::I8 | Elem::Bool => Ok(Memory::U8),
        Elem::U16 | Elem::I16 | Elem::F16 | Elem::Bf16 => Ok(Memory::U16),
        elem => unsupported(format!("vectors of {elem}")),
    }
}

fn vec_op(op: Binary, elem: Elem) -> Result<VecOp, Unsupported> {
    Ok(match (op, elem) {
        (Binary::Add, Elem::F32) => VecOp::Add,
        (Binary::Sub, Elem::F32) => VecOp::Sub,
        (Binary::Mul, Elem::F32) => VecOp::Mul,
        (Binary::Div, Elem::F32) => VecOp::Div,
        (Binary::Min, Elem::F32) => VecOp::Min,
        (Binary::Max, Elem::F32) => VecOp::Max,
        (Binary::Ldexp, Elem::F32) => VecOp::Ldexp,
        (Binary::Add, Elem::I32) => VecOp::AddI,
        (Binary::Sub, Elem::I32) => VecOp::SubI,
        (Binary::Mul, Elem::I32) => VecOp::MulI,
        // Of i64 vectors hold indices and what is as small, which stays so.
        (Binary::Min, Elem::I32 | Elem::I64) => VecOp::MinI,
        (Binary::Max, Elem::I32 | Elem::I64) => VecOp::MaxI,
        (Binary::And, Elem::I32) => VecOp::And,
        (Binary::Or, Elem::I32) => VecOp::Or,
        (Binary::Xor, Elem::I32) => VecOp::Xor,
        (Binary::Shl, Elem::I32) => VecOp::Shl,
        (Binary::Shr, Elem::I32) => VecOp::Shr,
        (op, elem) => return unsupported(format!("{op:?} on {elem}")),
    })
}

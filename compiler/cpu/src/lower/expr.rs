//! Statements and scalar expressions, one vector at a time.

use super::address::Split;
use super::{Active, Binding, Lane, Lower, Unsupported, unsupported};
use crate::vir::{Comparison, IntOp, MaskOp, Memory, Op, Reduction, Type, UnaryOp, Value, VecOp};
use engine::code::INDEX_OUT_OF_RANGE;
use kernel::scheduled::Stmt;
use kernel::{
    Affine, Binary, BufferId, Combine, Compare, Elem, Expr, ExprId, Extent, Guard, Literal, Subscript, Unary,
};

const SIGN: u32 = 0x8000_0000;

impl Lower<'_> {
    pub(super) fn set(&mut self, stmt: &Stmt) -> Result<(), Unsupported> {
        let Stmt::Set { target, at, combine, value, stream } = stmt else { return Ok(()) };
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
                    Some(mask) if self.exact_lanes[target.index()] => self.pure(Op::Select, &[mask, new, old]),
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
            let op = if op == Combine::Max { MaskOp::Or } else { MaskOp::And };
            return Ok(self.pure(Op::Mask(op), &[a, b]));
        }
        let op = vec_op(op.binary(), elem)?;
        Ok(self.pure(Op::Vec(op), &[a, b]))
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
                if memory != Memory::U8 {
                    self.numbers.insert((Op::Load { memory, disp }, vec![pointer]), value);
                }
            }
            Some(mask) => {
                self.b.effect(Op::Store { memory, disp }, &[pointer, value, mask]);
                if split.lane == 1 && memory != Memory::U8 {
                    self.numbers.insert((Op::Load { memory, disp }, vec![pointer, mask]), value);
                }
            }
        }
        Ok(())
    }

    fn forget_loads_of(&mut self, buffer: BufferId) {
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
                let op = vec_op(*op, elem)?;
                Ok(self.pure(Op::Vec(op), &[a, b]))
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
                if self.value_type(a) == Type::Mask {
                    let yes = self.pure(Op::Mask(MaskOp::And), &[c, a]);
                    let no = self.pure(Op::Mask(MaskOp::AndNot), &[b, c]);
                    return Ok(self.pure(Op::Mask(MaskOp::Or), &[yes, no]));
                }
                Ok(self.pure(Op::Select, &[c, a, b]))
            }
            Expr::Cast(to, a) => self.cast(*to, *a),
            Expr::Checked(..) => unsupported("a checked index as a value"),
            Expr::Reduce { op, axes, body } => self.reduce(*op, axes, *body),
        }
    }

    fn constant(&mut self, literal: Literal) -> Result<Value, Unsupported> {
        match literal.elem {
            Elem::F32 => Ok(self.splat((literal.value() as f32).to_bits())),
            Elem::I32 | Elem::I64 => match i32::try_from(literal.bits as i64) {
                Ok(n) => Ok(self.splat(n as u32)),
                Err(_) => unsupported(format!("the constant {} in a vector", literal.bits as i64)),
            },
            Elem::Bool => Ok(self.pure(Op::MaskConst(if literal.bits != 0 { u32::MAX } else { 0 }), &[])),
            elem => unsupported(format!("{elem} constants")),
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
            Elem::I32 | Elem::I64 => Ok(value),
            elem => unsupported(format!("indices as {elem}")),
        }
    }

    fn load(&mut self, buffer: BufferId, at: &[Subscript], guard: Option<&Guard>) -> Result<Value, Unsupported> {
        let Some(Subscript::Affine(flat)) = at.first() else { return unsupported("a load without an address") };
        let split = self.split(flat);
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
        if elem == Elem::Bool { self.as_mask(value, elem) } else { value }
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
            (Some(a), Some(b)) => Some(self.pure(Op::Mask(MaskOp::And), &[a, b])),
            (a, b) => a.or(b),
        };
        let value = match (lanes, stride, active) {
            (None, 0, None) => self.pure(Op::Broadcast { memory, disp }, &[pointer]),
            (None, 1, None) => self.pure(Op::Load { memory, disp }, &[pointer]),
            (None, 1, Some(mask)) => self.pure(Op::Load { memory, disp }, &[pointer, mask]),
            (lanes, stride, mask) => {
                if memory == Memory::U8 {
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
            (Unary::Neg, Elem::I32) => {
                let zero = self.splat(0);
                return Ok(self.pure(Op::Vec(VecOp::SubI), &[zero, a]));
            }
            (Unary::Abs, Elem::I32) => {
                let zero = self.splat(0);
                let minus = self.pure(Op::Vec(VecOp::SubI), &[zero, a]);
                return Ok(self.pure(Op::Vec(VecOp::MaxI), &[a, minus]));
            }
            (Unary::Not, Elem::Bool) => {
                let all = self.pure(Op::MaskConst(u32::MAX), &[]);
                return Ok(self.pure(Op::Mask(MaskOp::AndNot), &[all, a]));
            }
            (Unary::Not, Elem::I32) => {
                let ones = self.splat(u32::MAX);
                return Ok(self.pure(Op::Vec(VecOp::Xor), &[a, ones]));
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
            (Elem::I32 | Elem::U8, Elem::F32) => Ok(self.pure(Op::Unary(UnaryOp::ToFloat), &[a])),
            (Elem::F32, Elem::I32) => Ok(self.pure(Op::Unary(UnaryOp::ToInt), &[a])),
            (Elem::Bool, Elem::F32) => {
                let (one, zero) = (self.splat(1f32.to_bits()), self.splat(0));
                Ok(self.pure(Op::Select, &[a, one, zero]))
            }
            (Elem::Bool, Elem::I32 | Elem::U8) => Ok(self.lanes_of(a)),
            (from, Elem::Bool) => Ok(self.as_mask(a, from)),
            (Elem::I32 | Elem::U8 | Elem::I64, Elem::I32 | Elem::I64) => Ok(a),
            (from, to) => unsupported(format!("casts from {from} to {to}")),
        }
    }

    fn reduce(&mut self, op: Combine, axes: &[kernel::VarId], body: ExprId) -> Result<Value, Unsupported> {
        let [axis] = axes else { return unsupported("a reduction over several loops at once") };
        if self.kernel.loops[axis.index()].extent != Extent::Const(self.kernel.lanes) {
            return unsupported("a reduction over part of a vector");
        }
        let elem = self.kernel.exprs.elem(body);
        let op = match (op, elem) {
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
        let value = self.vector(body);
        self.bindings[axis.index()] = Binding::Closed;
        self.lane = outside;
        Ok(self.pure(Op::Reduce(op), &[value?]))
    }
}

enum Decided {
    Always,
    Never,
    Where(Value),
}

fn memory(elem: Elem) -> Result<Memory, Unsupported> {
    match elem {
        Elem::F32 => Ok(Memory::F32),
        Elem::I32 => Ok(Memory::I32),
        Elem::U8 | Elem::Bool => Ok(Memory::U8),
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
        (Binary::And, Elem::I32 | Elem::U8) => VecOp::And,
        (Binary::Or, Elem::I32 | Elem::U8) => VecOp::Or,
        (Binary::Xor, Elem::I32 | Elem::U8) => VecOp::Xor,
        (Binary::Shl, Elem::I32) => VecOp::Shl,
        (Binary::Shr, Elem::I32) => VecOp::Shr,
        (op, elem) => return unsupported(format!("{op:?} on {elem}")),
    })
}

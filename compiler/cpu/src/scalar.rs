//! Scheduled kernels through Cranelift one element at a time: every element type and operation, for what the vector IR
//! has no room for.
//!
//! All loops run, whatever their kind; registers lie on the stack. Values of f16 and bf16 are held as f32 and rounded
//! by every operation that gives one. Integers wrap; one that is divided by zero gives 0 and sets the error word.

use crate::clif::kernel_signature;
use crate::lower::{Unsupported, unsupported};
use crate::module::import;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use engine::Helper;
use engine::code::{DIVISION_BY_ZERO, INDEX_OUT_OF_RANGE};
use kernel::functions::Table;
use kernel::scheduled::{LoopKind, Place, Scheduled, SizeValue, Stmt};
use kernel::{
    Affine, Binary, BufferId, Combine, Compare, Elem, Expr, ExprId, Extent, Guard, Literal, Subscript, Unary, VarId,
};
use std::collections::HashMap;

/// The kernel in Cranelift's IR.
pub fn translate(kernel: &Scheduled, isa: &dyn TargetIsa) -> Result<ir::Function, Unsupported> {
    let mut function =
        ir::Function::with_name_signature(ir::UserFuncName::default(), kernel_signature(isa.default_call_conv()));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let [table, begin, end] = [0, 1, 2].map(|i| b.block_params(entry)[i]);
    let mut scalar = Scalar {
        b,
        kernel,
        isa,
        bases: vec![table; kernel.storage.len()],
        sizes: vec![],
        loops: vec![None; kernel.loops.len()],
        error: table,
        helpers: HashMap::new(),
    };
    scalar.entry(table, begin, end);
    scalar.block(&kernel.body)?;
    scalar.b.ins().return_(&[]);
    scalar.b.finalize(isa.frontend_config());
    Ok(function)
}

/// Values of expressions at one place.
type Known = HashMap<ExprId, ir::Value>;

struct Scalar<'a> {
    b: FunctionBuilder<'a>,
    kernel: &'a Scheduled,
    isa: &'a dyn TargetIsa,
    /// Address of each storage.
    bases: Vec<ir::Value>,
    sizes: Vec<ir::Value>,
    /// Indices of open loops.
    loops: Vec<Option<ir::Value>>,
    error: ir::Value,
    helpers: HashMap<Helper, ir::FuncRef>,
}

fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// What a value of an element type is held as.
fn held(elem: Elem) -> ir::Type {
    match elem {
        Elem::F64 => F64,
        Elem::F32 | Elem::F16 | Elem::Bf16 => F32,
        Elem::I64 | Elem::U64 => I64,
        Elem::I32 | Elem::U32 => I32,
        Elem::I16 | Elem::U16 => I16,
        Elem::I8 | Elem::U8 | Elem::Bool => I8,
    }
}

fn is_half(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::Bf16)
}

impl Scalar<'_> {
    fn entry(&mut self, table: ir::Value, begin: ir::Value, end: ir::Value) {
        let kernel = self.kernel;
        let mut slot = 0;
        let mut next = |b: &mut FunctionBuilder| {
            slot += 8;
            b.ins().load(I64, flags(), table, slot - 8)
        };
        self.error = next(&mut self.b);
        for (base, _) in self.bases.iter_mut().zip(&kernel.storage).filter(|(_, s)| s.place == Place::Argument) {
            *base = next(&mut self.b);
        }
        let is_argument = |s: &&kernel::scheduled::SizeInfo| s.value == SizeValue::Argument;
        let mut arguments =
            kernel.sizes.iter().filter(is_argument).map(|_| next(&mut self.b)).collect::<Vec<_>>().into_iter();
        let scratch = next(&mut self.b);
        for (base, storage) in self.bases.iter_mut().zip(&kernel.storage) {
            match storage.place {
                Place::Argument => {}
                Place::Scratch { offset } => *base = self.b.ins().iadd_imm_s(scratch, offset as i64),
                Place::Register => {
                    let bytes = storage.len.unwrap_or(0) as u32 * storage.elem.size() as u32;
                    let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes.max(1), 3);
                    let slot = self.b.create_sized_stack_slot(data);
                    *base = self.b.ins().stack_addr(I64, slot, 0);
                }
            }
        }
        for info in &kernel.sizes {
            let value = match &info.value {
                // One slot for each argument was read above.
                SizeValue::Argument => arguments.next().unwrap_or(begin),
                SizeValue::TaskBegin => begin,
                SizeValue::TaskEnd => end,
                SizeValue::Linear(a) => self.affine(a, 1),
                // Sizes are not negative: the quotient is the floor.
                SizeValue::Floor(a, by) => {
                    let (a, by) = (self.affine(a, 1), self.b.ins().iconst(I64, *by));
                    self.b.ins().udiv(a, by)
                }
                SizeValue::Product(a, b) => {
                    let (a, b) = (self.sizes[a.index()], self.sizes[b.index()]);
                    self.b.ins().imul(a, b)
                }
                SizeValue::Min(a, b) => self.extreme(IntCC::SignedLessThan, a, b),
                SizeValue::Max(a, b) => self.extreme(IntCC::SignedGreaterThan, a, b),
            };
            self.sizes.push(value);
        }
    }

    fn extreme(&mut self, first_if: IntCC, a: &Affine, b: &Affine) -> ir::Value {
        let (a, b) = (self.affine(a, 1), self.affine(b, 1));
        self.first_if(first_if, a, b)
    }

    fn first_if(&mut self, condition: IntCC, a: ir::Value, b: ir::Value) -> ir::Value {
        let holds = self.b.ins().icmp(condition, a, b);
        self.b.ins().select(holds, a, b)
    }

    /// `a * scale` as an integer.
    fn affine(&mut self, a: &Affine, scale: i64) -> ir::Value {
        let mut sum = self.b.ins().iconst(I64, a.constant * scale);
        for term in a.terms() {
            let mut product = self.b.ins().iconst(I64, term.factor * scale);
            // A variable of an affine is a loop around it.
            let factors = [term.var.and_then(|v| self.loops[v.index()]), term.size.map(|s| self.sizes[s.index()])];
            for factor in factors.into_iter().flatten() {
                product = self.b.ins().imul(product, factor);
            }
            sum = self.b.ins().iadd(sum, product);
        }
        sum
    }

    fn extent(&mut self, extent: Extent) -> ir::Value {
        match extent {
            Extent::Const(n) => self.b.ins().iconst(I64, n),
            Extent::Size(s) => self.sizes[s.index()],
        }
    }

    fn block(&mut self, stmts: &[Stmt]) -> Result<(), Unsupported> {
        stmts.iter().try_for_each(|stmt| match stmt {
            Stmt::Loop { var, body } => self.run(*var, &mut |s| s.block(body)),
            Stmt::Set { target, at, combine, value, .. } => self.set(*target, at, *combine, *value),
        })
    }

    /// A loop over a variable around what `body` adds.
    fn run(
        &mut self,
        var: VarId,
        body: &mut dyn FnMut(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let info = &self.kernel.loops[var.index()];
        if let LoopKind::Block(_) | LoopKind::Thread(_) = info.kind {
            return unsupported(format!("a loop of kind {:?}", info.kind));
        }
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let index = self.b.append_block_param(header, I64);
        let (zero, extent) = (self.b.ins().iconst(I64, 0), self.extent(info.extent));
        self.b.ins().jump(header, &[zero.into()]);
        self.b.switch_to_block(header);
        let goes_on = self.b.ins().icmp(IntCC::SignedLessThan, index, extent);
        self.b.ins().brif(goes_on, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        self.b.seal_block(inside);
        let outside = self.loops[var.index()].replace(index);
        let result = body(self);
        self.loops[var.index()] = outside;
        let next = self.b.ins().iadd_imm_s(index, 1);
        self.b.ins().jump(header, &[next.into()]);
        self.b.seal_block(header);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        result
    }

    fn set(
        &mut self,
        target: BufferId,
        at: &Affine,
        combine: Option<Combine>,
        value: ExprId,
    ) -> Result<(), Unsupported> {
        let mut value = self.value(value, &mut Known::new())?;
        let elem = self.kernel.storage[target.index()].elem;
        let address = self.address(target, at);
        if let Some(op) = combine {
            let old = self.load_element(elem, address);
            value = self.binary(op.binary(), elem, old, value)?;
        }
        self.store_element(elem, address, value);
        Ok(())
    }

    fn address(&mut self, buffer: BufferId, at: &Affine) -> ir::Value {
        let offset = self.affine(at, self.kernel.storage[buffer.index()].elem.size() as i64);
        self.b.ins().iadd(self.bases[buffer.index()], offset)
    }

    fn load_element(&mut self, elem: Elem, address: ir::Value) -> ir::Value {
        if !is_half(elem) {
            return self.b.ins().load(held(elem), flags(), address, 0);
        }
        let bits = self.b.ins().uload16(I32, flags(), address, 0);
        self.from_half(elem, bits)
    }

    fn store_element(&mut self, elem: Elem, address: ir::Value, value: ir::Value) {
        if !is_half(elem) {
            self.b.ins().store(flags(), value, address, 0);
            return;
        }
        let bits = self.half_bits(elem, value);
        self.b.ins().istore16(flags(), bits, address, 0);
    }

    fn from_half(&mut self, elem: Elem, bits: ir::Value) -> ir::Value {
        if elem == Elem::F16 {
            return self.call(Helper::HalfToF32, &[bits], F32);
        }
        let bits = self.b.ins().ishl_imm_u(bits, 16);
        self.b.ins().bitcast(F32, MemFlagsData::new(), bits)
    }

    /// The bits of a float rounded to f16 or bf16.
    fn half_bits(&mut self, elem: Elem, value: ir::Value) -> ir::Value {
        let helper = match (elem, self.b.func.dfg.value_type(value)) {
            (Elem::F16, F64) => Helper::F64ToHalf,
            (Elem::F16, _) => Helper::F32ToHalf,
            (_, F64) => Helper::F64ToBfloat,
            _ => Helper::F32ToBfloat,
        };
        self.call(helper, &[value], I32)
    }

    /// A float, as the operation gave it, as a value of its element type.
    fn rounded(&mut self, elem: Elem, value: ir::Value) -> ir::Value {
        if !is_half(elem) {
            return value;
        }
        let bits = self.half_bits(elem, value);
        self.from_half(elem, bits)
    }

    fn call(&mut self, helper: Helper, arguments: &[ir::Value], result: ir::Type) -> ir::Value {
        let types: Vec<ir::Type> = arguments.iter().map(|v| self.b.func.dfg.value_type(*v)).collect();
        let (b, convention) = (&mut self.b, self.isa.default_call_conv());
        let callee = *self.helpers.entry(helper).or_insert_with(|| {
            let mut signature = Signature::new(convention);
            signature.params = types.into_iter().map(AbiParam::new).collect();
            signature.returns = vec![AbiParam::new(result)];
            import(b, helper, signature)
        });
        let call = self.b.ins().call(callee, arguments);
        self.b.inst_results(call)[0]
    }

    fn value(&mut self, id: ExprId, known: &mut Known) -> Result<ir::Value, Unsupported> {
        if let Some(value) = known.get(&id) {
            return Ok(*value);
        }
        let exprs = &self.kernel.exprs;
        let elem = exprs.elem(id);
        let value = match &exprs[id] {
            Expr::Const(literal) => self.literal(*literal),
            Expr::Index(index, elem) => {
                let index = self.affine(index, 1);
                self.cast(Elem::I64, *elem, index)
            }
            Expr::Load { buffer, at, guard } => self.load(*buffer, at, guard.as_ref(), known)?,
            Expr::Unary(op, a) => {
                let from = exprs.elem(*a);
                let a = self.value(*a, known)?;
                let value = self.unary(*op, from, a)?;
                self.rounded(elem, value)
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.value(*a, known)?, self.value(*b, known)?);
                self.binary(*op, elem, a, b)?
            }
            Expr::Fma(a, b, c) => {
                let (a, b, c) = (self.value(*a, known)?, self.value(*b, known)?, self.value(*c, known)?);
                if !elem.is_float() {
                    return unsupported(format!("a fused multiply-add of {elem}"));
                }
                let value = self.b.ins().fma(a, b, c);
                self.rounded(elem, value)
            }
            Expr::Compare(op, a, b) => {
                let elem = exprs.elem(*a);
                let (a, b) = (self.value(*a, known)?, self.value(*b, known)?);
                self.compare(*op, elem, a, b)
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (self.value(*c, known)?, self.value(*a, known)?, self.value(*b, known)?);
                self.b.ins().select(c, a, b)
            }
            Expr::Cast(to, a) => {
                let from = exprs.elem(*a);
                let a = self.value(*a, known)?;
                self.cast(from, *to, a)
            }
            Expr::Lookup(table, a) => {
                let index = self.value(*a, known)?;
                self.lookup(*table, index)
            }
            Expr::Checked(a, extent) => {
                let a = self.value(*a, known)?;
                self.checked(a, *extent)
            }
            Expr::Reduce { op, axes, body } => self.reduce(*op, axes, *body)?,
        };
        known.insert(id, value);
        Ok(value)
    }

    /// Halves the entries by one bit of the index after the other, from the lowest.
    fn lookup(&mut self, table: Table, index: ir::Value) -> ir::Value {
        let mut entries: Vec<ir::Value> = table.entries().iter().map(|e| self.b.ins().f32const(*e)).collect();
        let mut bit = 1;
        while entries.len() > 1 {
            let odd = self.b.ins().band_imm_u(index, bit);
            entries = entries.chunks(2).map(|pair| self.b.ins().select(odd, pair[1], pair[0])).collect();
            bit *= 2;
        }
        entries[0]
    }

    fn literal(&mut self, literal: Literal) -> ir::Value {
        match held(literal.elem) {
            F64 => self.b.ins().f64const(literal.value()),
            F32 => {
                let value = self.b.ins().f32const(literal.value() as f32);
                self.rounded(literal.elem, value)
            }
            ty => self.integer(ty, literal.bits as i64),
        }
    }

    fn integer(&mut self, ty: ir::Type, value: i64) -> ir::Value {
        let bits = value as u64 & (u64::MAX >> (64 - ty.bits()));
        self.b.ins().iconst(ty, bits as i64)
    }

    fn load(
        &mut self,
        buffer: BufferId,
        at: &[Subscript],
        guard: Option<&Guard>,
        known: &mut Known,
    ) -> Result<ir::Value, Unsupported> {
        let elem = self.kernel.storage[buffer.index()].elem;
        let Some(guard) = guard else {
            let address = self.place(buffer, at, known)?;
            return Ok(self.load_element(elem, address));
        };
        let mut inside = self.b.ins().iconst(I8, 1);
        for (index, extent) in &guard.ranges {
            let (index, extent) = (self.affine(index, 1), self.extent(*extent));
            // Below zero is far above as an unsigned number.
            let within = self.b.ins().icmp(IntCC::UnsignedLessThan, index, extent);
            inside = self.b.ins().band(inside, within);
        }
        let (read, join) = (self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(join, held(elem));
        let otherwise = self.literal(guard.otherwise);
        self.b.ins().brif(inside, read, &[], join, &[otherwise.into()]);
        self.b.switch_to_block(read);
        self.b.seal_block(read);
        // What is computed here is not known after it.
        let address = self.place(buffer, at, &mut known.clone())?;
        let value = self.load_element(elem, address);
        self.b.ins().jump(join, &[value.into()]);
        self.b.switch_to_block(join);
        self.b.seal_block(join);
        Ok(result)
    }

    /// The address of an element, offsets read from data included.
    fn place(&mut self, buffer: BufferId, at: &[Subscript], known: &mut Known) -> Result<ir::Value, Unsupported> {
        let bytes = self.kernel.storage[buffer.index()].elem.size() as i64;
        let mut address = self.bases[buffer.index()];
        for subscript in at {
            let offset = match subscript {
                Subscript::Affine(a) => self.affine(a, bytes),
                Subscript::Data(e) => {
                    let from = self.kernel.exprs.elem(*e);
                    let index = self.value(*e, known)?;
                    let index = self.cast(from, Elem::I64, index);
                    self.b.ins().imul_imm_s(index, bytes)
                }
            };
            address = self.b.ins().iadd(address, offset);
        }
        Ok(address)
    }

    /// An index in range; one that is not becomes the nearest, and the call's error word is set.
    fn checked(&mut self, value: ir::Value, extent: Extent) -> ir::Value {
        let (zero, extent) = (self.b.ins().iconst(I64, 0), self.extent(extent));
        let last = self.b.ins().iadd_imm_s(extent, -1);
        let low = self.first_if(IntCC::SignedGreaterThan, value, zero);
        let clamped = self.first_if(IntCC::SignedLessThan, low, last);
        let wrong = self.b.ins().icmp(IntCC::NotEqual, value, clamped);
        self.flag(wrong, INDEX_OUT_OF_RANGE);
        clamped
    }

    /// Sets a bit of the error word if `wrong`.
    fn flag(&mut self, wrong: ir::Value, bit: i64) {
        let (bit, zero) = (self.b.ins().iconst(I64, bit), self.b.ins().iconst(I64, 0));
        let bit = self.b.ins().select(wrong, bit, zero);
        let before = self.b.ins().load(I64, flags(), self.error, 0);
        let after = self.b.ins().bor(before, bit);
        self.b.ins().store(flags(), after, self.error, 0);
    }

    fn unary(&mut self, op: Unary, elem: Elem, a: ir::Value) -> Result<ir::Value, Unsupported> {
        let float = elem.is_float();
        let function = |helper| (elem == Elem::F64).then_some(helper);
        let helper = match op {
            Unary::Neg if float => return Ok(self.b.ins().fneg(a)),
            Unary::Abs if float => return Ok(self.b.ins().fabs(a)),
            Unary::Sqrt if float => return Ok(self.b.ins().sqrt(a)),
            Unary::Floor if float => return Ok(self.b.ins().floor(a)),
            Unary::Ceil if float => return Ok(self.b.ins().ceil(a)),
            Unary::Round if float => return Ok(self.b.ins().nearest(a)),
            Unary::Trunc if float => return Ok(self.b.ins().trunc(a)),
            Unary::Neg => return Ok(self.b.ins().ineg(a)),
            Unary::Abs if !elem.is_signed() => return Ok(a),
            Unary::Abs => {
                let minus = self.b.ins().ineg(a);
                return Ok(self.first_if(IntCC::SignedGreaterThan, a, minus));
            }
            Unary::Not if elem == Elem::Bool => return Ok(self.b.ins().bxor_imm_u(a, 1)),
            Unary::Not if !float => return Ok(self.b.ins().bnot(a)),
            Unary::Bits if elem == Elem::F32 => return Ok(self.b.ins().bitcast(I32, MemFlagsData::new(), a)),
            Unary::FromBits if elem == Elem::I32 => return Ok(self.b.ins().bitcast(F32, MemFlagsData::new(), a)),
            Unary::Rsqrt if elem == Elem::F64 => {
                let (one, root) = (self.b.ins().f64const(1.0), self.b.ins().sqrt(a));
                return Ok(self.b.ins().fdiv(one, root));
            }
            Unary::Sigmoid if elem == Elem::F64 => {
                let minus = self.b.ins().fneg(a);
                let e = self.call(Helper::Exp, &[minus], F64);
                let one = self.b.ins().f64const(1.0);
                let below = self.b.ins().fadd(one, e);
                return Ok(self.b.ins().fdiv(one, below));
            }
            Unary::Exp => function(Helper::Exp),
            Unary::Expm1 => function(Helper::Expm1),
            Unary::Log => function(Helper::Log),
            Unary::Log1p => function(Helper::Log1p),
            Unary::Sin => function(Helper::Sin),
            Unary::Cos => function(Helper::Cos),
            Unary::Atan => function(Helper::Atan),
            Unary::Tanh => function(Helper::Tanh),
            Unary::Erf => function(Helper::Erf),
            _ => None,
        };
        match helper {
            Some(helper) => Ok(self.call(helper, &[a], F64)),
            None => unsupported(format!("{op:?} on {elem}")),
        }
    }

    fn binary(&mut self, op: Binary, elem: Elem, a: ir::Value, b: ir::Value) -> Result<ir::Value, Unsupported> {
        let value = match (elem.is_float(), elem) {
            (true, _) => self.float_binary(op, elem, a, b)?,
            (_, Elem::Bool) => match op {
                Binary::And | Binary::Mul | Binary::Min => self.b.ins().band(a, b),
                Binary::Or | Binary::Add | Binary::Max => self.b.ins().bor(a, b),
                Binary::Xor => self.b.ins().bxor(a, b),
                op => return unsupported(format!("{op:?} on bool")),
            },
            _ => self.int_binary(op, elem, a, b)?,
        };
        Ok(self.rounded(elem, value))
    }

    fn float_binary(&mut self, op: Binary, elem: Elem, a: ir::Value, b: ir::Value) -> Result<ir::Value, Unsupported> {
        let first_if = |s: &mut Self, condition| {
            let holds = s.b.ins().fcmp(condition, a, b);
            s.b.ins().select(holds, a, b)
        };
        Ok(match op {
            Binary::Add => self.b.ins().fadd(a, b),
            Binary::Sub => self.b.ins().fsub(a, b),
            Binary::Mul => self.b.ins().fmul(a, b),
            Binary::Div => self.b.ins().fdiv(a, b),
            Binary::Min => first_if(self, FloatCC::LessThan),
            Binary::Max => first_if(self, FloatCC::GreaterThan),
            Binary::Rem if elem == Elem::F64 => self.call(Helper::Rem, &[a, b], F64),
            // The remainder of two floats is a float of their precision.
            Binary::Rem => {
                let (a, b) = (self.b.ins().fpromote(F64, a), self.b.ins().fpromote(F64, b));
                let rest = self.call(Helper::Rem, &[a, b], F64);
                self.b.ins().fdemote(F32, rest)
            }
            Binary::Pow if elem == Elem::F64 => self.call(Helper::Pow, &[a, b], F64),
            Binary::Ldexp if elem == Elem::F32 => self.ldexp(a, b),
            op => return unsupported(format!("{op:?} on {elem}")),
        })
    }

    /// `a * 2^n` by two powers made from bits, each of half the exponent.
    fn ldexp(&mut self, a: ir::Value, n: ir::Value) -> ir::Value {
        let n = self.b.ins().fcvt_to_sint_sat(I32, n);
        let half = self.b.ins().sshr_imm_u(n, 1);
        let rest = self.b.ins().isub(n, half);
        [half, rest].into_iter().fold(a, |a, n| {
            let n = self.b.ins().iadd_imm_s(n, 127);
            let n = self.b.ins().ishl_imm_u(n, 23);
            let power = self.b.ins().bitcast(F32, MemFlagsData::new(), n);
            self.b.ins().fmul(a, power)
        })
    }

    fn int_binary(&mut self, op: Binary, elem: Elem, a: ir::Value, b: ir::Value) -> Result<ir::Value, Unsupported> {
        let signed = elem.is_signed();
        let either = |yes, no| if signed { yes } else { no };
        Ok(match op {
            Binary::Add => self.b.ins().iadd(a, b),
            Binary::Sub => self.b.ins().isub(a, b),
            Binary::Mul => self.b.ins().imul(a, b),
            Binary::Div | Binary::Rem => self.divide(op == Binary::Div, elem, a, b),
            Binary::Min => self.first_if(either(IntCC::SignedLessThan, IntCC::UnsignedLessThan), a, b),
            Binary::Max => self.first_if(either(IntCC::SignedGreaterThan, IntCC::UnsignedGreaterThan), a, b),
            Binary::And => self.b.ins().band(a, b),
            Binary::Or => self.b.ins().bor(a, b),
            Binary::Xor => self.b.ins().bxor(a, b),
            Binary::Shl => self.b.ins().ishl(a, b),
            Binary::Shr if signed => self.b.ins().sshr(a, b),
            Binary::Shr => self.b.ins().ushr(a, b),
            op => return unsupported(format!("{op:?} on {elem}")),
        })
    }

    /// Quotient or remainder. The machine's division traps where there is none and where it overflows, so neither
    /// reaches it: by -1 the quotient is the negative and the remainder 0.
    fn divide(&mut self, quotient: bool, elem: Elem, a: ir::Value, b: ir::Value) -> ir::Value {
        let (ty, signed) = (held(elem), elem.is_signed());
        let (wide_a, wide_b) = (self.cast(elem, Elem::I64, a), self.cast(elem, Elem::I64, b));
        let (zero, one) = (self.b.ins().iconst(I64, 0), self.b.ins().iconst(I64, 1));
        let by_zero = self.b.ins().icmp(IntCC::Equal, wide_b, zero);
        self.flag(by_zero, DIVISION_BY_ZERO);
        let mut safe = self.b.ins().select(by_zero, one, wide_b);
        let minus = self.b.ins().icmp_imm_s(IntCC::Equal, wide_b, -1);
        if signed {
            safe = self.b.ins().select(minus, one, safe);
        }
        let mut value = match (quotient, signed) {
            (true, true) => self.b.ins().sdiv(wide_a, safe),
            (true, false) => self.b.ins().udiv(wide_a, safe),
            (false, true) => self.b.ins().srem(wide_a, safe),
            (false, false) => self.b.ins().urem(wide_a, safe),
        };
        if signed && quotient {
            let negative = self.b.ins().ineg(wide_a);
            value = self.b.ins().select(minus, negative, value);
        }
        value = self.b.ins().select(by_zero, zero, value);
        if ty == I64 { value } else { self.b.ins().ireduce(ty, value) }
    }

    fn compare(&mut self, op: Compare, elem: Elem, a: ir::Value, b: ir::Value) -> ir::Value {
        if elem.is_float() {
            let condition = match op {
                Compare::Eq => FloatCC::Equal,
                Compare::Ne => FloatCC::NotEqual,
                Compare::Lt => FloatCC::LessThan,
                Compare::Le => FloatCC::LessThanOrEqual,
            };
            return self.b.ins().fcmp(condition, a, b);
        }
        let condition = match (op, elem.is_signed()) {
            (Compare::Eq, _) => IntCC::Equal,
            (Compare::Ne, _) => IntCC::NotEqual,
            (Compare::Lt, true) => IntCC::SignedLessThan,
            (Compare::Lt, false) => IntCC::UnsignedLessThan,
            (Compare::Le, true) => IntCC::SignedLessThanOrEqual,
            (Compare::Le, false) => IntCC::UnsignedLessThanOrEqual,
        };
        self.b.ins().icmp(condition, a, b)
    }

    /// Between floats rounds; from floats to integers truncates and wraps, as far as 64 bits reach; between integers
    /// wraps; to bool is "not zero".
    fn cast(&mut self, from: Elem, to: Elem, a: ir::Value) -> ir::Value {
        let (ty_from, ty) = (held(from), held(to));
        if from == to {
            return a;
        }
        if to == Elem::Bool {
            if from.is_float() {
                let zero = self.literal(Literal::of(from, 0.0));
                return self.b.ins().fcmp(FloatCC::NotEqual, a, zero);
            }
            return self.b.ins().icmp_imm_s(IntCC::NotEqual, a, 0);
        }
        match (from.is_float(), to.is_float()) {
            (true, true) => {
                if is_half(to) {
                    return self.rounded(to, a);
                }
                match (ty_from, ty) {
                    (F32, F64) => self.b.ins().fpromote(F64, a),
                    (F64, F32) => self.b.ins().fdemote(F32, a),
                    _ => a,
                }
            }
            (true, false) => {
                let wide = match to {
                    Elem::U64 => self.b.ins().fcvt_to_uint_sat(I64, a),
                    _ => self.b.ins().fcvt_to_sint_sat(I64, a),
                };
                if ty == I64 { wide } else { self.b.ins().ireduce(ty, wide) }
            }
            (false, true) => {
                let wide = self.cast(from, Elem::I64, a);
                // A half of an integer is rounded once, from f64, which holds all that f16 and bf16 tell apart.
                let through = if is_half(to) { F64 } else { ty };
                let value = match from {
                    Elem::U64 => self.b.ins().fcvt_from_uint(through, wide),
                    _ => self.b.ins().fcvt_from_sint(through, wide),
                };
                self.rounded(to, value)
            }
            (false, false) if ty.bits() < ty_from.bits() => self.b.ins().ireduce(ty, a),
            (false, false) if ty == ty_from => a,
            (false, false) if from.is_signed() => self.b.ins().sextend(ty, a),
            (false, false) => self.b.ins().uextend(ty, a),
        }
    }

    fn reduce(&mut self, op: Combine, axes: &[VarId], body: ExprId) -> Result<ir::Value, Unsupported> {
        let elem = self.kernel.exprs.elem(body);
        let total = self.b.declare_var(held(elem));
        let identity = self.literal(op.identity(elem));
        self.b.def_var(total, identity);
        self.over(axes, &mut |s| {
            let value = s.value(body, &mut Known::new())?;
            let before = s.b.use_var(total);
            let after = s.binary(op.binary(), elem, before, value)?;
            s.b.def_var(total, after);
            Ok(())
        })?;
        Ok(self.b.use_var(total))
    }

    fn over(
        &mut self,
        axes: &[VarId],
        body: &mut dyn FnMut(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        match axes.split_first() {
            None => body(self),
            Some((axis, rest)) => self.run(*axis, &mut |s| s.over(rest, body)),
        }
    }
}

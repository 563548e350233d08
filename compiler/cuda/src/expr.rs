//! Scalar expressions as C++.

use crate::emit::{Emitter, c_type};
use crate::homes::Home;
use crate::shape::AXES;
use crate::{Unsupported, unsupported};
use kernel::scheduled::LoopKind;
use kernel::{
    Affine, Binary, BufferId, Combine, Compare, Elem, Expr, ExprId, Extent, Guard, Literal, Subscript, Unary, VarId,
};
use std::collections::HashMap;

/// Longer expressions get a name, so that lines stay readable.
const LONG: usize = 72;

impl Emitter<'_> {
    pub fn begin_statement(&mut self, root: ExprId) {
        let mut uses: HashMap<ExprId, usize> = HashMap::new();
        self.kernel
            .exprs
            .walk(root, &mut |_, e| e.operands().into_iter().for_each(|o| *uses.entry(o).or_default() += 1));
        self.uses = uses;
        self.known.clear();
    }

    /// The text of an expression; what is long or used twice is a variable, declared before.
    pub fn value(&mut self, id: ExprId) -> Result<String, Unsupported> {
        if let Some(text) = self.known.get(&id) {
            return Ok(text.clone());
        }
        let exprs = &self.kernel.exprs;
        let mut text = self.operation(id)?;
        let leaf = match &exprs[id] {
            Expr::Const(_) | Expr::Index(..) => true,
            Expr::Load { buffer, .. } => matches!(self.homes[buffer.index()], Home::Thread { .. }),
            _ => false,
        };
        let shared = self.uses.get(&id).is_some_and(|n| *n > 1);
        if !leaf && (shared || text.len() > LONG) {
            let name = self.fresh("t");
            self.line(format!("const {} {name} = {text};", c_type(exprs.elem(id))));
            text = name;
        }
        self.known.insert(id, text.clone());
        Ok(text)
    }

    fn operation(&mut self, id: ExprId) -> Result<String, Unsupported> {
        let exprs = &self.kernel.exprs;
        let elem = exprs.elem(id);
        Ok(match &exprs[id] {
            Expr::Const(literal) => self::literal(*literal)?,
            Expr::Index(index, elem) => format!("({}){}", c_type(*elem), atom(self.affine(index))),
            Expr::Load { buffer, at, guard } => self.load(*buffer, at, guard.as_ref())?,
            Expr::Unary(op, a) => {
                let (elem, a) = (exprs.elem(*a), self.value(*a)?);
                unary(*op, elem, &a)?
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.value(*a)?, self.value(*b)?);
                match op {
                    Binary::Div | Binary::Rem if !elem.is_float() => {
                        format!("nnc_{}({a}, {b}, error)", if *op == Binary::Div { "div" } else { "rem" })
                    }
                    _ => binary(*op, elem, &a, &b)?,
                }
            }
            Expr::Fma(a, b, c) => {
                let (a, b, c) = (self.value(*a)?, self.value(*b)?, self.value(*c)?);
                format!("{}({a}, {b}, {c})", float_function("fma", elem)?)
            }
            Expr::Compare(op, a, b) => {
                let op = match op {
                    Compare::Eq => "==",
                    Compare::Ne => "!=",
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                };
                format!("{} {op} {}", atom(self.value(*a)?), atom(self.value(*b)?))
            }
            Expr::Select(c, a, b) => {
                let (c, a, b) = (atom(self.value(*c)?), atom(self.value(*a)?), atom(self.value(*b)?));
                format!("{c} ? {a} : {b}")
            }
            Expr::Lookup(table, a) => {
                let entries: Vec<String> = table.entries().iter().map(|e| format!("{e:?}f")).collect();
                let (index, name) = (atom(self.value(*a)?), self.fresh("t"));
                self.line(format!("static const float {name}[16] = {{{}}};", entries.join(", ")));
                format!("{name}[{index} & 15]")
            }
            Expr::Cast(to, a) => {
                let from = exprs.elem(*a);
                cast(*to, from, &self.value(*a)?)?
            }
            Expr::Checked(a, extent) => {
                let (a, extent) = (self.value(*a)?, self.extent(*extent));
                format!("nnc_checked({a}, {extent}, error)")
            }
            Expr::Reduce { op, axes, body } => self.reduce(*op, axes, *body)?,
        })
    }

    fn load(&mut self, buffer: BufferId, at: &[Subscript], guard: Option<&Guard>) -> Result<String, Unsupported> {
        let Some(flat) = at.first().and_then(Subscript::as_affine) else {
            return unsupported("a load without an address");
        };
        if guard.is_none()
            && at.len() == 1
            && let Some(name) = self.vectors.get(&(buffer, flat.clone()))
        {
            return Ok(format!("{name}.lane[{}]", self.lane_of(flat)));
        }
        let mut place = self.place(buffer, flat);
        for subscript in &at[1..] {
            let Subscript::Data(e) = subscript else { return unsupported("a load with two affine addresses") };
            let offset = self.value(*e)?;
            place = format!("{} + {offset}]", place.trim_end_matches(']'));
        }
        let Some(guard) = guard else { return Ok(place) };
        let range = |(index, extent): &(Affine, Extent)| {
            format!("nnc_inside({}, {})", self.affine(index), self.extent(*extent))
        };
        let inside: Vec<String> = guard.ranges.iter().map(range).collect();
        Ok(format!("{} ? {place} : {}", atom(inside.join(" && ")), self::literal(guard.otherwise)?))
    }

    /// The variable of the open vector, of which an address holds one.
    pub fn lane_of(&self, at: &Affine) -> String {
        let lanes = |v: &VarId| self.kernel.loops[v.index()].kind == LoopKind::Lanes;
        at.vars().find(lanes).map_or("0".into(), |v| self.affine(&Affine::var(v)))
    }

    /// `place` combined with a value; a product is added with one rounding.
    pub fn combined(&mut self, op: Combine, elem: Elem, place: &str, value: ExprId) -> Result<String, Unsupported> {
        if let (Combine::Sum, Expr::Binary(Binary::Mul, a, b), true) = (op, &self.kernel.exprs[value], elem.is_float())
        {
            let (a, b) = (self.value(*a)?, self.value(*b)?);
            return Ok(format!("{}({a}, {b}, {place})", float_function("fma", elem)?));
        }
        let value = self.value(value)?;
        combine(op, elem, place, &value)
    }

    /// Lanes one after the other, then threads through shared memory.
    fn reduce(&mut self, op: Combine, axes: &[VarId], body: ExprId) -> Result<String, Unsupported> {
        let elem = self.kernel.exprs.elem(body);
        let (ty, identity) = (c_type(elem), literal(op.identity(elem))?);
        let kind = |v: &VarId| self.kernel.loops[v.index()].kind;
        let (threads, lanes): (Vec<VarId>, Vec<VarId>) =
            axes.iter().partition(|v| matches!(kind(v), LoopKind::Thread(_)));
        let total = self.fresh("r");
        if lanes.is_empty() {
            let value = self.value(body)?;
            self.line(format!("{ty} {total} = {value};"));
        } else {
            self.line(format!("{ty} {total} = {identity};"));
            // What is named inside the loops is not known after them.
            let outside = self.known.clone();
            self.over(&lanes, &mut |e| {
                let value = e.value(body)?;
                let sum = combine(op, elem, &total, &value)?;
                e.line(format!("{total} = {sum};"));
                Ok(())
            })?;
            self.known = outside;
        }
        for var in threads {
            let LoopKind::Thread(d) = kind(&var) else { continue };
            let Extent::Const(count) = self.kernel.loops[var.index()].extent else {
                return unsupported("a reduction across threads whose number is known only when running");
            };
            if self.guards > 0 {
                return unsupported("a reduction across threads where only some of a block's threads run");
            }
            let Some(room) = self.room else { continue };
            let (room, lane) = (self.group_room(room, d, ty), format!("threadIdx.{}", AXES[d as usize]));
            let function = format!("[]({ty} a, {ty} b) {{ return {}; }}", combine(op, elem, "a", "b")?);
            self.line(format!("{total} = nnc_combine({total}, {room}, {lane}, {count}, {function});"));
        }
        Ok(total)
    }

    /// The part of the room for threads that differ in dimension `d` only.
    fn group_room(&self, room: usize, d: u8, ty: &str) -> String {
        let start = if room == 0 { format!("({ty} *)shared") } else { format!("({ty} *)(shared + {room})") };
        let mut group = String::new();
        for (other, axis) in AXES.iter().enumerate().rev() {
            let size = self.shape.block[other];
            if other == d as usize || size == 1 {
                continue;
            }
            group = match group.as_str() {
                "" => format!("threadIdx.{axis}"),
                outer => format!("({outer} * {size} + threadIdx.{axis})"),
            };
        }
        if group.is_empty() { start } else { format!("{start} + {group} * {}", self.shape.block[d as usize]) }
    }

    fn over(
        &mut self,
        lanes: &[VarId],
        body: &mut dyn FnMut(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let Some((var, rest)) = lanes.split_first() else { return body(self) };
        let extent = self.extent(self.kernel.loops[var.index()].extent);
        self.line("#pragma unroll");
        self.braced(&self.counted(*var, &extent), |e| e.over(rest, body))
    }
}

fn literal(l: Literal) -> Result<String, Unsupported> {
    let (value, bits) = (l.value(), l.bits as i64);
    Ok(match l.elem {
        Elem::F32 if !value.is_finite() => format!("__int_as_float({:#x})", (value as f32).to_bits()),
        Elem::F32 => format!("{:?}f", value as f32),
        Elem::F16 | Elem::Bf16 if !value.is_finite() => {
            format!("({})__int_as_float({:#x})", c_type(l.elem), (value as f32).to_bits())
        }
        Elem::F16 | Elem::Bf16 => format!("({}){:?}f", c_type(l.elem), value as f32),
        Elem::F64 if !value.is_finite() => format!("__longlong_as_double({:#x}ll)", value.to_bits()),
        Elem::F64 => format!("{value:?}"),
        Elem::Bool => (bits != 0).to_string(),
        Elem::I32 if bits != i32::MIN as i64 => bits.to_string(),
        // The least number of a type is no literal.
        elem => format!("({}){:#x}ull", c_type(elem), bits),
    })
}

/// An operand, in parentheses unless it is one name, number, access or call.
pub(crate) fn atom(text: String) -> String {
    let mut depth = 0;
    let mut single = !text.starts_with(['-', '!', '~', '(', '*']);
    for c in text.chars() {
        depth += matches!(c, '(' | '[') as i32 - matches!(c, ')' | ']') as i32;
        single &= depth > 0 || c != ' ';
    }
    if single { text } else { format!("({text})") }
}

/// `name` in the variant of a floating type.
fn float_function(name: &str, elem: Elem) -> Result<String, Unsupported> {
    match elem {
        Elem::F32 => Ok(format!("{name}f")),
        Elem::F64 => Ok(name.into()),
        elem => unsupported(format!("{name} on {elem}")),
    }
}

/// The C function of an operation that is called as the operation is.
fn name_of(op: Unary) -> String {
    format!("{op:?}").to_lowercase()
}

/// A value of another type. What is half wide goes through a float, and into it from a double, which is rounded once.
fn cast(to: Elem, from: Elem, a: &str) -> Result<String, Unsupported> {
    let half = |elem: Elem| matches!(elem, Elem::F16 | Elem::Bf16);
    let wide = if half(from) { format!("(float){}", atom(a.into())) } else { a.to_string() };
    Ok(match to {
        Elem::Bool => format!("{} != 0", atom(wide)),
        Elem::F32 if half(from) => wide,
        to if half(to) && !half(from) && from != Elem::F32 => format!("({})(double){}", c_type(to), atom(wide)),
        to => format!("({}){}", c_type(to), atom(wide)),
    })
}

fn unary(op: Unary, elem: Elem, a: &str) -> Result<String, Unsupported> {
    let function = |name: &str| Ok(format!("{}({a})", float_function(name, elem)?));
    let ty = c_type(elem);
    match op {
        Unary::Neg if elem.is_float() => Ok(format!("-{}", atom(a.into()))),
        Unary::Neg => Ok(format!("nnc_sub(({ty})0, {a})")),
        Unary::Abs => Ok(format!("nnc_abs({a})")),
        Unary::Sqrt => function("sqrt"),
        Unary::Floor => function("floor"),
        Unary::Ceil => function("ceil"),
        Unary::Round => function("rint"),
        Unary::Trunc => function("trunc"),
        Unary::Not if elem == Elem::Bool => Ok(format!("!{}", atom(a.into()))),
        Unary::Not => Ok(format!("({ty})(~{})", atom(a.into()))),
        Unary::Bits => Ok(format!("__float_as_int({a})")),
        Unary::FromBits => Ok(format!("__int_as_float({a})")),
        // Of f32 there are none left: `apply` expands them.
        Unary::Exp | Unary::Expm1 | Unary::Log | Unary::Log1p if elem == Elem::F64 => function(&name_of(op)),
        Unary::Sin | Unary::Cos | Unary::Atan | Unary::Tanh | Unary::Erf if elem == Elem::F64 => function(&name_of(op)),
        Unary::Rsqrt if elem == Elem::F64 => Ok(format!("1.0 / sqrt({a})")),
        Unary::Sigmoid if elem == Elem::F64 => Ok(format!("1.0 / (1.0 + exp(-{}))", atom(a.into()))),
        op => unsupported(format!("{op:?} in a scheduled kernel: apply expands it")),
    }
}

fn binary(op: Binary, elem: Elem, a: &str, b: &str) -> Result<String, Unsupported> {
    let infix = |op: &str| Ok(format!("{} {op} {}", atom(a.into()), atom(b.into())));
    let prelude = |name: &str| Ok(format!("nnc_{name}({a}, {b})"));
    let float = elem.is_float();
    match (op, elem) {
        (Binary::And | Binary::Mul | Binary::Min, Elem::Bool) => infix("&&"),
        (Binary::Or | Binary::Add | Binary::Max, Elem::Bool) => infix("||"),
        (Binary::Xor, Elem::Bool) => infix("!="),
        (op, Elem::Bool) => unsupported(format!("{op:?} on bool")),
        (Binary::Add, _) if float => infix("+"),
        (Binary::Sub, _) if float => infix("-"),
        (Binary::Mul, _) if float => infix("*"),
        (Binary::Div, _) if float => infix("/"),
        (Binary::Rem, _) if float => Ok(format!("{}({a}, {b})", float_function("fmod", elem)?)),
        (Binary::Add, _) => prelude("add"),
        (Binary::Sub, _) => prelude("sub"),
        (Binary::Mul, _) => prelude("mul"),
        (Binary::Min, _) => prelude("min"),
        (Binary::Max, _) => prelude("max"),
        (Binary::And, _) if !float => prelude("and"),
        (Binary::Or, _) if !float => prelude("or"),
        (Binary::Xor, _) if !float => prelude("xor"),
        (Binary::Shl, _) if !float => prelude("shl"),
        (Binary::Shr, _) if !float => prelude("shr"),
        (Binary::Ldexp, Elem::F32) => prelude("ldexp"),
        (Binary::Pow, Elem::F64) => Ok(format!("pow({a}, {b})")),
        (Binary::Pow, _) => unsupported("Pow in a scheduled kernel: apply expands it"),
        (op, elem) => unsupported(format!("{op:?} on {elem}")),
    }
}

fn combine(op: Combine, elem: Elem, a: &str, b: &str) -> Result<String, Unsupported> {
    binary(op.binary(), elem, a, b)
}

//! Scalar expressions: what an operator's `compute` yields, and what both levels of kernel store.
//!
//! Expressions live in an arena and are interned, so equal expressions have equal ids and a shared subexpression is
//! computed once. Every expression has one element type, found when it is built.

use crate::affine::{Affine, BufferId, ExprId, Extent, VarId};
use crate::functions::Table;
use std::collections::HashMap;
use tensor::Elem;

/// One operand. Of f32, the functions from `Exp` on exist at the nest level only: applying a schedule expands them into
/// polynomials over the rest (`functions`). Of f64 they stay, for back ends to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    Neg,
    Abs,
    Sqrt,
    Floor,
    Ceil,
    /// To the nearest integer, halves to even.
    Round,
    Trunc,
    /// Bitwise; on bool, logical.
    Not,
    /// The bits of an f32 as i32, and back.
    Bits,
    FromBits,
    Exp,
    Expm1,
    Log,
    Log1p,
    Rsqrt,
    Sin,
    Cos,
    Atan,
    Tanh,
    Sigmoid,
    Erf,
}

/// Two operands of one element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// On integers truncates, as in C.
    Div,
    Rem,
    /// `a < b ? a : b`: the second operand if either is NaN.
    Min,
    /// `a > b ? a : b`: the second operand if either is NaN.
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    /// `x * 2^n`, `n` a float with an integral value, clamped to [-252, 254]; one rounding at most per half of `n`.
    Ldexp,
    /// Like the functions of [`Unary`].
    Pow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
}

/// An associative operation with an identity; reductions and combining stores use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    Sum,
    Prod,
    Max,
    Min,
}

impl Combine {
    pub fn binary(self) -> Binary {
        match self {
            Combine::Sum => Binary::Add,
            Combine::Prod => Binary::Mul,
            Combine::Max => Binary::Max,
            Combine::Min => Binary::Min,
        }
    }

    /// The value that leaves the other operand as it is.
    pub fn identity(self, elem: Elem) -> Literal {
        match (self, elem.is_float()) {
            (Combine::Sum, _) => Literal::of(elem, 0.0),
            (Combine::Prod, _) => Literal::of(elem, 1.0),
            (Combine::Max, true) => Literal::of(elem, f64::NEG_INFINITY),
            (Combine::Min, true) => Literal::of(elem, f64::INFINITY),
            (Combine::Max, false) => Literal { elem, bits: least(elem) as u64 },
            (Combine::Min, false) => Literal { elem, bits: greatest(elem) as u64 },
        }
    }
}

fn least(elem: Elem) -> i64 {
    match elem {
        Elem::I64 => i64::MIN,
        Elem::I32 => i32::MIN as i64,
        Elem::I16 => i16::MIN as i64,
        Elem::I8 => i8::MIN as i64,
        _ => 0,
    }
}

fn greatest(elem: Elem) -> i64 {
    match elem {
        Elem::I64 | Elem::U64 => i64::MAX,
        Elem::I32 => i32::MAX as i64,
        Elem::U32 => u32::MAX as i64,
        Elem::I16 => i16::MAX as i64,
        Elem::U16 => u16::MAX as i64,
        Elem::I8 => i8::MAX as i64,
        Elem::U8 => u8::MAX as i64,
        _ => 1,
    }
}

/// A constant: the bits of an `f64` for floating element types, of an `i64` for integers and bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Literal {
    pub elem: Elem,
    pub bits: u64,
}

impl Literal {
    /// `value` in `elem`; integers truncate, bool is "not zero".
    pub fn of(elem: Elem, value: f64) -> Literal {
        let bits = match elem {
            Elem::Bool => (value != 0.0) as u64,
            Elem::F64 => value.to_bits(),
            _ if elem.is_float() => (value as f32 as f64).to_bits(),
            _ => value as i64 as u64,
        };
        Literal { elem, bits }
    }

    pub fn int(elem: Elem, value: i64) -> Literal {
        match elem.is_float() {
            true => Literal::of(elem, value as f64),
            false => Literal { elem, bits: value as u64 },
        }
    }

    pub fn value(self) -> f64 {
        match self.elem.is_float() {
            true => f64::from_bits(self.bits),
            false => self.bits as i64 as f64,
        }
    }
}

/// One subscript of a load or a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subscript {
    Affine(Affine),
    /// Read from data: an integer expression, checked against the dim's extent when running.
    Data(ExprId),
}

impl Subscript {
    pub fn as_affine(&self) -> Option<&Affine> {
        match self {
            Subscript::Affine(a) => Some(a),
            Subscript::Data(_) => None,
        }
    }
}

impl<T: Into<Affine>> From<T> for Subscript {
    fn from(value: T) -> Subscript {
        Subscript::Affine(value.into())
    }
}

/// What a load yields outside some ranges: a padded read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// All of `0 <= index < extent` must hold for memory to be read.
    pub ranges: Vec<(Affine, Extent)>,
    pub otherwise: Literal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    Const(Literal),
    /// The value of an index as a number.
    Index(Affine, Elem),
    Load {
        buffer: BufferId,
        at: Vec<Subscript>,
        guard: Option<Guard>,
    },
    Unary(Unary, ExprId),
    Binary(Binary, ExprId, ExprId),
    /// `a * b + c`, rounded once.
    Fma(ExprId, ExprId, ExprId),
    Compare(Compare, ExprId, ExprId),
    /// `if condition { a } else { b }`
    Select(ExprId, ExprId, ExprId),
    Cast(Elem, ExprId),
    /// Scheduled level only: the entry at the lowest four bits of an i32.
    Lookup(Table, ExprId),
    /// Scheduled level only: the value if `0 <= value < extent`; else 0, and the call fails once the kernel has run.
    Checked(ExprId, Extent),
    /// `op` over all values of the axes.
    Reduce {
        op: Combine,
        axes: Vec<VarId>,
        body: ExprId,
    },
}

impl Expr {
    /// The direct operands, subscripts from data included.
    pub fn operands(&self) -> Vec<ExprId> {
        match self {
            Expr::Const(_) | Expr::Index(..) => vec![],
            Expr::Load { at, .. } => {
                at.iter().filter_map(|s| if let Subscript::Data(e) = s { Some(*e) } else { None }).collect()
            }
            Expr::Unary(_, a) | Expr::Cast(_, a) | Expr::Lookup(_, a) | Expr::Checked(a, _) => vec![*a],
            Expr::Reduce { body, .. } => vec![*body],
            Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => vec![*a, *b],
            Expr::Fma(a, b, c) | Expr::Select(a, b, c) => vec![*a, *b, *c],
        }
    }

    /// The same expression with each operand replaced.
    pub fn map(&self, mut f: impl FnMut(ExprId) -> ExprId) -> Expr {
        match self {
            Expr::Const(_) | Expr::Index(..) => self.clone(),
            Expr::Load { buffer, at, guard } => {
                let at = at.iter().map(|s| match s {
                    Subscript::Affine(a) => Subscript::Affine(a.clone()),
                    Subscript::Data(e) => Subscript::Data(f(*e)),
                });
                Expr::Load { buffer: *buffer, at: at.collect(), guard: guard.clone() }
            }
            Expr::Unary(op, a) => Expr::Unary(*op, f(*a)),
            Expr::Binary(op, a, b) => Expr::Binary(*op, f(*a), f(*b)),
            Expr::Fma(a, b, c) => Expr::Fma(f(*a), f(*b), f(*c)),
            Expr::Compare(op, a, b) => Expr::Compare(*op, f(*a), f(*b)),
            Expr::Select(a, b, c) => Expr::Select(f(*a), f(*b), f(*c)),
            Expr::Cast(elem, a) => Expr::Cast(*elem, f(*a)),
            Expr::Lookup(table, a) => Expr::Lookup(*table, f(*a)),
            Expr::Checked(a, extent) => Expr::Checked(f(*a), *extent),
            Expr::Reduce { op, axes, body } => Expr::Reduce { op: *op, axes: axes.clone(), body: f(*body) },
        }
    }
}

/// The arena of one kernel.
#[derive(Clone, Debug, Default)]
pub struct Exprs {
    nodes: Vec<(Expr, Elem)>,
    interned: HashMap<Expr, ExprId>,
}

impl std::ops::Index<ExprId> for Exprs {
    type Output = Expr;

    fn index(&self, id: ExprId) -> &Expr {
        &self.nodes[id.index()].0
    }
}

impl Exprs {
    /// The id of `expr`, whose element type is `elem`; an equal one that exists is reused.
    pub fn intern(&mut self, expr: Expr, elem: Elem) -> ExprId {
        let nodes = &mut self.nodes;
        *self.interned.entry(expr).or_insert_with_key(|expr| {
            nodes.push((expr.clone(), elem));
            ExprId(nodes.len() as u32 - 1)
        })
    }

    pub fn elem(&self, id: ExprId) -> Elem {
        self.nodes[id.index()].1
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn as_const(&self, id: ExprId) -> Option<Literal> {
        match &self[id] {
            Expr::Const(literal) => Some(*literal),
            _ => None,
        }
    }

    /// Calls `visit` on `root` and everything below it, each expression once, operands first.
    pub fn walk(&self, root: ExprId, visit: &mut impl FnMut(ExprId, &Expr)) {
        let mut seen = vec![false; self.nodes.len()];
        self.walk_unseen(root, &mut seen, visit);
    }

    fn walk_unseen(&self, id: ExprId, seen: &mut [bool], visit: &mut impl FnMut(ExprId, &Expr)) {
        if std::mem::replace(&mut seen[id.index()], true) {
            return;
        }
        for operand in self[id].operands() {
            self.walk_unseen(operand, seen, visit);
        }
        visit(id, &self[id]);
    }

    pub fn literal(&mut self, literal: Literal) -> ExprId {
        self.intern(Expr::Const(literal), literal.elem)
    }

    pub fn constant(&mut self, elem: Elem, value: f64) -> ExprId {
        self.literal(Literal::of(elem, value))
    }

    pub fn index(&mut self, index: Affine, elem: Elem) -> ExprId {
        match index.as_constant() {
            Some(value) => self.literal(Literal::int(elem, value)),
            None => self.intern(Expr::Index(index, elem), elem),
        }
    }

    pub fn unary(&mut self, op: Unary, a: ExprId) -> ExprId {
        let elem = match op {
            Unary::Bits => Elem::I32,
            Unary::FromBits => Elem::F32,
            _ => self.elem(a),
        };
        self.intern(Expr::Unary(op, a), elem)
    }

    /// Both operands have one element type. Multiplying by one and adding zero disappear.
    pub fn binary(&mut self, op: Binary, a: ExprId, b: ExprId) -> ExprId {
        let is = |id, value| self.as_const(id).is_some_and(|l| l.value() == value);
        match op {
            Binary::Mul if is(a, 1.0) => return b,
            Binary::Mul | Binary::Div if is(b, 1.0) => return a,
            Binary::Add | Binary::Sub if is(b, 0.0) && !self.elem(a).is_float() => return a,
            _ => {}
        }
        self.intern(Expr::Binary(op, a, b), self.elem(a))
    }

    pub fn add(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(Binary::Add, a, b)
    }

    pub fn sub(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(Binary::Sub, a, b)
    }

    pub fn mul(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(Binary::Mul, a, b)
    }

    pub fn div(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.binary(Binary::Div, a, b)
    }

    pub fn fma(&mut self, a: ExprId, b: ExprId, c: ExprId) -> ExprId {
        self.intern(Expr::Fma(a, b, c), self.elem(a))
    }

    /// The f32 that `table` has at `index`, an i32.
    pub fn lookup(&mut self, table: Table, index: ExprId) -> ExprId {
        self.intern(Expr::Lookup(table, index), Elem::F32)
    }

    pub fn compare(&mut self, op: Compare, a: ExprId, b: ExprId) -> ExprId {
        self.intern(Expr::Compare(op, a, b), Elem::Bool)
    }

    pub fn select(&mut self, condition: ExprId, a: ExprId, b: ExprId) -> ExprId {
        match self.as_const(condition) {
            Some(literal) if literal.bits != 0 => a,
            Some(_) => b,
            None if a == b => a,
            None => self.intern(Expr::Select(condition, a, b), self.elem(a)),
        }
    }

    pub fn cast(&mut self, elem: Elem, a: ExprId) -> ExprId {
        match (self.elem(a) == elem, &self[a]) {
            (true, _) => a,
            (_, Expr::Const(literal)) => self.literal(Literal::of(elem, literal.value())),
            // Indices and sizes are exact in every type that holds numbers.
            (_, Expr::Index(index, _)) if elem != Elem::Bool => self.index(index.clone(), elem),
            _ => self.intern(Expr::Cast(elem, a), elem),
        }
    }

    pub fn reduce(&mut self, op: Combine, axes: &[VarId], body: ExprId) -> ExprId {
        if axes.is_empty() {
            return body;
        }
        let elem = self.elem(body);
        self.intern(Expr::Reduce { op, axes: axes.to_vec(), body }, elem)
    }

    /// Rebuilds `root` bottom-up; `rewrite` gets each expression with its operands already rewritten.
    pub fn rewrite(&mut self, root: ExprId, rewrite: &mut impl FnMut(&mut Exprs, Expr, Elem) -> ExprId) -> ExprId {
        let mut done = HashMap::new();
        self.rewrite_memo(root, &mut done, rewrite)
    }

    fn rewrite_memo(
        &mut self,
        id: ExprId,
        done: &mut HashMap<ExprId, ExprId>,
        rewrite: &mut impl FnMut(&mut Exprs, Expr, Elem) -> ExprId,
    ) -> ExprId {
        if let Some(new) = done.get(&id) {
            return *new;
        }
        let elem = self.elem(id);
        let expr = self[id].clone().map(|operand| self.rewrite_memo(operand, done, rewrite));
        let new = rewrite(self, expr, elem);
        done.insert(id, new);
        new
    }
}

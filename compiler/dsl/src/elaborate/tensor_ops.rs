//! Operations on tensors: literals and sizes adapt to the tensors they meet, shapes are broadcast, nodes are appended.

use super::items::{Item, ROOT};
use super::shape::shape_text;
use super::{Elaborator, Result, Scope, Val};
use crate::ast::{BinaryOp, Expr, ItemKind, Ix};
use diag::{Code, Diagnostic, Span};
use graph::ops::{self, Op};
use graph::{Dim, Elem, OpError, TensorType, Value, Verdict};
use std::rc::Rc;

/// A power that is a product: exponents up to this one are multiplied out, as integers have no other power.
const MULTIPLIED_OUT: i64 = 4;

/// Nodes of a graph, at most: many times those of the largest models, far fewer than fill a memory.
const NODES: usize = 1 << 16;

impl Elaborator<'_> {
    /// Appends a node; what its operands lack is said in the user's words.
    pub(super) fn push(&mut self, op: impl Into<Op>, operands: &[Value], span: Span) -> Result<Value> {
        let op = op.into();
        if self.graph.len() >= NODES {
            let message = format!("the model has more than {NODES} operations");
            let error = Diagnostic::new(Code::TOO_LONG, span, message);
            return Err(Box::new(error.help("compute what is used twice once, and give it a name")));
        }
        let origin = self.origin(span);
        let value = match self.graph.push(op.clone(), operands, &origin) {
            Ok(value) => value,
            Err(e) => return Err(Box::new(self.op_error(&op, e, operands, span))),
        };
        let ty = self.graph.ty(value);
        self.countable(ty, span)?;
        if let Some(dim) = ty.dims.iter().find(|d| d.as_int().is_some_and(|n| n < 1)) {
            let message = format!("{} leaves nothing of an axis: its size is {dim}", self.quote(span));
            return self.fail(Code::SHAPE, span, message);
        }
        Ok(value)
    }

    /// Refuses types that no memory could hold.
    pub(super) fn countable(&self, ty: &TensorType, span: Span) -> Result<()> {
        match ty.is_countable() {
            true => Ok(()),
            false => {
                let shape = shape_text(&ty.dims);
                let error = Diagnostic::new(Code::SHAPE, span, format!("{shape} has more elements than any memory"));
                Err(Box::new(error.help("make its sizes smaller")))
            }
        }
    }

    fn op_error(&self, op: &Op, error: OpError, operands: &[Value], span: Span) -> Diagnostic {
        let name = op.name();
        let quoted = self.quote(span);
        let shape = |i: usize| operands.get(i).map_or(String::new(), |v| self.type_text(self.graph.ty(*v)));
        match error {
            OpError::Contract { left, right } => {
                Diagnostic::new(Code::MATMUL, span, format!("inner dimensions differ: {left} and {right}"))
                    .label(format!("{} and {}", shape(0), shape(1)))
            }
            OpError::Sizes { axis, left, right, refuted: true } => {
                let message = format!("`{name}` needs equal sizes: axis {axis} is {left} and {right}");
                Diagnostic::new(Code::SHAPE, span, message)
            }
            OpError::Sizes { left, right, .. } => self.unknown_equal(&left, &right, &quoted, span),
            OpError::Elem { operand, expected, got } => Diagnostic::new(
                Code::ELEMENT_TYPE,
                span,
                format!("operand {} of `{name}` must be {expected}, got {got}", operand + 1),
            )
            .help("tensors are never converted silently; cast(x, float) does it"),
            OpError::Elements { from, to } => {
                let new = if let Op::Reshape(r) = op { shape_text(&r.shape) } else { "the new shape".into() };
                let message = format!("reshape must keep the number of elements: {from} here, {to} in {new}");
                let (a, b) = without_common(from, to);
                let error = self.with_sizes(Diagnostic::new(Code::RESHAPE, span, message), &[&a, &b]);
                match a.as_int().is_some() && b.as_int().is_some() {
                    true => error,
                    false => error
                        .help(format!("fix the sizes, or state it, and it is checked on each call: where {a} == {b}")),
                }
            }
            OpError::Rank { operand, expected, got } => {
                let message = format!(
                    "operand {} of `{name}` must have rank {expected}, got {got}: {}",
                    operand + 1,
                    shape(operand)
                );
                Diagnostic::new(Code::SHAPE, span, message)
            }
            OpError::Condition(text) => {
                let error = Diagnostic::new(Code::SHAPE, span, format!("`{name}`: {text}"));
                match op {
                    Op::Conv(_) | Op::Pool(_) => error.help("a smaller kernel, more padding or a larger input"),
                    _ => error,
                }
            }
            OpError::Attribute { name: attribute, expected } => {
                Diagnostic::new(Code::STATIC_TYPE, span, format!("`{attribute}` of {name} must be {expected}"))
            }
        }
    }

    fn unknown_equal(&self, left: &Dim, right: &Dim, needed_by: &str, span: Span) -> Diagnostic {
        let message = format!("cannot show that {left} = {right}, needed by `{needed_by}`");
        let error = self.with_sizes(Diagnostic::new(Code::UNKNOWN_EQUAL, span, message), &[left, right]);
        let error = match (left.as_var(), right.as_var()) {
            (Some(a), Some(_)) => error.help(format!("if they are always equal, use one name for both: {a}")),
            _ => error,
        };
        error.help(format!("or state it, and it is checked on each call: where {left} == {right}"))
    }

    /// The latest version of a stored tensor; an operand of the graph from its first read on.
    pub(super) fn read(&mut self, full: &str) -> Value {
        if let Some(version) = self.versions.get(full) {
            return version.value;
        }
        let stored = &self.stored[self.index[full]];
        let (storage, ty, span) = (stored.storage, stored.ty.clone(), stored.span);
        let origin = self.origin(span);
        let value = self.graph.operand(full, storage, ty, origin);
        if let Some(declared) = self.stored_types.get(full).cloned() {
            self.declared.insert(value, declared);
        }
        let operand = self.graph.operands.len() - 1;
        self.versions.insert(full.to_string(), super::Version { operand, value, updated: false });
        value
    }

    /// The element type that literals among these take.
    pub(super) fn common_elem(&self, values: &[(Val, Span)]) -> Elem {
        let tensor = values.iter().find_map(|(v, _)| match v {
            Val::Tensor(t) => Some(self.graph.ty(*t).elem),
            _ => None,
        });
        let all = |f: fn(&Val) -> bool| values.iter().all(|(v, _)| f(v));
        match tensor {
            Some(elem) => elem,
            None if all(|v| matches!(v, Val::Bool(_) | Val::Fact(_))) => Elem::Bool,
            None if all(|v| matches!(v, Val::Num(d) if d.is_integral())) => Elem::I32,
            None => self.float(),
        }
    }

    /// A value as a tensor: literals become rank 0.
    pub(super) fn tensor(&mut self, value: &Val, elem: Option<Elem>, span: Span) -> Result<Value> {
        let elem = elem.unwrap_or_else(|| self.common_elem(&[(value.clone(), span)]));
        match value {
            Val::Tensor(t) => self.lift(&(value.clone(), span), elem, &self.graph.ty(*t).dims.clone()),
            value => self.lift(&(value.clone(), span), elem, &[]),
        }
    }

    /// A value as a tensor of this type; broadcasting was found to be allowed.
    fn lift(&mut self, (value, span): &(Val, Span), elem: Elem, shape: &[Dim]) -> Result<Value> {
        let span = *span;
        if let Val::Tensor(t) = value {
            let found = self.graph.ty(*t).clone();
            if found.elem != elem {
                let message = format!("expected {}, got {}", elem_text(elem, self.float()), self.type_text(&found));
                let error = Diagnostic::new(Code::ELEMENT_TYPE, span, message);
                return Err(Box::new(error.help(format!(
                    "convert it: cast({}, {})",
                    self.quote(span),
                    elem_text(elem, self.float())
                ))));
            }
            return self.expand(*t, shape, span);
        }
        let number = match value {
            Val::Bool(b) => Some(*b as i32 as f64),
            other => other.as_f64(),
        };
        if let Some(number) = number {
            let fits = match elem {
                Elem::Bool => matches!(value, Val::Bool(_)),
                e if e.is_float() => !matches!(value, Val::Bool(_)),
                e => number.fract() == 0.0 && (number >= 0.0 || e.is_signed()) && !matches!(value, Val::Bool(_)),
            };
            if !fits {
                let text = if let Val::Bool(b) = value { b.to_string() } else { number.to_string() };
                let error =
                    Diagnostic::new(Code::ELEMENT_TYPE, span, format!("{text} is no value of the element type {elem}"));
                return Err(Box::new(error.help("convert the tensor: cast(x, float)")));
            }
            return self.push(ops::Full { shape: shape.to_vec(), value: number, elem }, &[], span);
        }
        let scalar = match value {
            Val::Num(d) if d.is_integral() => self.push(ops::DimValue { value: d.clone() }, &[], span)?,
            Val::Num(d) => {
                if !elem.is_float() {
                    return self.fail(Code::ELEMENT_TYPE, span, format!("{d} may be a fraction; it meets {elem}"));
                }
                self.fraction(d, span)?
            }
            Val::Scalar(v) if elem.is_float() => *v,
            Val::Scalar(_) => {
                return self.fail(Code::ELEMENT_TYPE, span, format!("a quotient of sizes is a float; it meets {elem}"));
            }
            Val::Fact(fact) => {
                use graph::Fact::*;
                let (name, a, b) = match &**fact {
                    Eq(a, b) => ("eq", a.clone(), b.clone()),
                    Le(a, b) => ("le", a.clone(), b.clone()),
                    Divides { divisor, of } => ("eq", of.rem(divisor), Dim::int(0)),
                };
                let a = self.lift(&(Val::Num(a), span), Elem::I64, &[])?;
                let b = self.lift(&(Val::Num(b), span), Elem::I64, &[])?;
                self.push_named(name, &[a, b], span)?
            }
            other => return self.fail(Code::STATIC_TYPE, span, format!("expected a tensor, got {}", other.kind())),
        };
        let scalar = match self.graph.ty(scalar).elem == elem {
            true => scalar,
            false => self.push(ops::Cast { to: elem }, &[scalar], span)?,
        };
        self.expand(scalar, shape, span)
    }

    /// A polynomial of sizes with fractions as coefficients, in f64.
    fn fraction(&mut self, dim: &Dim, span: Span) -> Result<Value> {
        let denominator = dim.terms().fold(1, |m, (_, c)| lcm(m, *c.denom()));
        let whole = self.push(ops::DimValue { value: dim.scaled(denominator.into()) }, &[], span)?;
        let whole = self.push(ops::Cast { to: Elem::F64 }, &[whole], span)?;
        let by = self.push(ops::Full { shape: vec![], value: denominator as f64, elem: Elem::F64 }, &[], span)?;
        self.push(ops::Div {}, &[whole, by], span)
    }

    pub(super) fn expand(&mut self, value: Value, shape: &[Dim], span: Span) -> Result<Value> {
        match self.graph.ty(value).dims == shape {
            true => Ok(value),
            false => self.push(ops::Expand { shape: shape.to_vec() }, &[value], span),
        }
    }

    pub(super) fn reshape(&mut self, value: Value, shape: Vec<Dim>, span: Span) -> Result<Value> {
        match self.graph.ty(value).dims == shape {
            true => Ok(value),
            false => self.push(ops::Reshape { shape }, &[value], span),
        }
    }

    pub(super) fn transpose(&mut self, value: Value, order: Vec<usize>, span: Span) -> Result<Value> {
        match order.is_sorted() {
            true => Ok(value),
            false => self.push(ops::Transpose { order }, &[value], span),
        }
    }

    fn push_named(&mut self, name: &str, operands: &[Value], span: Span) -> Result<Value> {
        match ops::build(name, &[]) {
            Some(Ok(op)) => self.push(op, operands, span),
            _ => self.fail(Code::NOT_YET, span, format!("the operator `{name}` is not compiled yet")),
        }
    }

    /// An elementwise operator over operands of any shapes that go together. Numbers that depend on sizes stay numbers.
    pub(super) fn elementwise(&mut self, name: &str, operands: Vec<(Val, Span)>, span: Span) -> Result<Val> {
        for (value, span) in &operands {
            if !(value.is_tensor() || value.is_number() || matches!(value, Val::Bool(_) | Val::Fact(_))) {
                let message = format!("`{name}` takes tensors and numbers, not {}", value.kind());
                return match value {
                    Val::None => self.advise(Code::STATIC_TYPE, *span, message, "ask first: if mask != none { … }"),
                    _ => self.fail(Code::STATIC_TYPE, *span, message),
                };
            }
        }
        let scalar = operands.iter().all(|(v, _)| v.is_number());
        // Conditions of `where` have a type of their own.
        let conditions = (name == "where") as usize;
        let elem = if scalar { Elem::F64 } else { self.common_elem(&operands[conditions..]) };
        let shape = self.broadcast(&operands, span)?;
        let mut values = vec![];
        for (i, operand) in operands.iter().enumerate() {
            values.push(self.lift(operand, if i < conditions { Elem::Bool } else { elem }, &shape)?);
        }
        let value = self.push_named(name, &values, span)?;
        match scalar && self.graph.ty(value).elem == Elem::F64 {
            true => Ok(Val::Scalar(value)),
            false => Ok(Val::Tensor(value)),
        }
    }

    /// The shape that these go to: sizes align from the right and are equal, or literally 1; if ranks differ, only the
    /// operand of lower rank stretches.
    fn broadcast(&self, operands: &[(Val, Span)], span: Span) -> Result<Vec<Dim>> {
        let mut shape: Vec<Dim> = vec![];
        let mut first = None;
        for (value, at) in operands {
            let Val::Tensor(t) = value else { continue };
            let dims = &self.graph.ty(*t).dims;
            shape = match first {
                None => dims.clone(),
                Some(_) if *dims == shape => shape,
                Some(first) => self.broadcast_two((&shape, first), (dims, *at), span)?,
            };
            first = first.or(Some(*at));
        }
        Ok(shape)
    }

    pub(super) fn broadcast_two(
        &self,
        (a, a_at): (&[Dim], Span),
        (b, b_at): (&[Dim], Span),
        span: Span,
    ) -> Result<Vec<Dim>> {
        let rank = a.len().max(b.len());
        let one = Dim::int(1);
        let at = |dims: &[Dim], axis: usize| (axis + dims.len()).checked_sub(rank).map(|i| dims[i].clone());
        let mut out = vec![];
        let mut stretches = [a.len() < b.len(), b.len() < a.len()];
        let mut differ = vec![];
        for axis in 0..rank {
            out.push(match (at(a, axis), at(b, axis)) {
                (Some(x), Some(y)) if x == y => x,
                (Some(x), Some(y)) if x == one => {
                    stretches[0] = true;
                    y
                }
                (Some(x), Some(y)) if y == one => {
                    stretches[1] = true;
                    x
                }
                (Some(x), Some(y)) => match self.graph.facts.eq(&x, &y) {
                    Verdict::Proved => x,
                    Verdict::Refuted => {
                        differ.push(format!("axis {axis} is {x} and {y}"));
                        x
                    }
                    Verdict::Unknown => return Err(Box::new(self.unknown_equal(&x, &y, &self.quote(span), span))),
                },
                (Some(x), None) | (None, Some(x)) => x,
                (None, None) => one.clone(),
            });
        }
        let (a_text, b_text) = (shape_text(a), shape_text(b));
        if !differ.is_empty() {
            let message = format!("cannot {} {a_text} and {b_text}: {}", self.verb(a_at, b_at), differ.join(", "));
            let mut error = Diagnostic::new(Code::BROADCAST, span, message);
            if a_at != b_at && a_at.file == span.file && b_at.file == span.file && a_at != span && b_at != span {
                error = error.other(a_at, a_text).other(b_at, b_text);
            }
            return Err(Box::new(match a.len() == 4 && b.len() == 4 {
                true => error.help("if this is a residual, project the shortcut where shapes change: x |> shortcut: Conv2d(out, 1, stride = stride)"),
                false => error.help("shapes align from the right; sizes are equal, or literally 1: x[:, none] adds such an axis"),
            }));
        }
        if a.len() != b.len() && stretches == [true, true] {
            let (a_source, b_source) = (self.quote(a_at), self.quote(b_at));
            let sign = self.sign_between(a_at, b_at);
            let message = format!("{a_text} {sign} {b_text} would stretch both sides to {}", shape_text(&out));
            let (long, short) = if a.len() > b.len() { (&a_source, &b_source) } else { (&b_source, &a_source) };
            let error = Diagnostic::new(Code::STRETCH_BOTH, span, message);
            return Err(Box::new(
                error
                    .help(format!("to drop the axis of size 1 write {long}[:, 0]"))
                    .help(format!("to build the table on purpose, give both one rank: {short}[none, :]")),
            ));
        }
        Ok(out)
    }

    /// The sign that stands between two operands in the source.
    fn sign_between(&self, a: Span, b: Span) -> String {
        let between = Span { start: a.end, end: b.start, ..a };
        let sign = if a.file == b.file && a.end < b.start { self.sources.snippet(between).trim() } else { "," };
        sign.trim_matches(|c| "() ".contains(c)).to_string()
    }

    fn verb(&self, a: Span, b: Span) -> &'static str {
        match self.sign_between(a, b).as_str() {
            "+" | "+=" => "add",
            "-" | "-=" => "subtract",
            "*" | "*=" => "multiply",
            "/" | "/=" => "divide",
            "==" | "!=" | "<" | "<=" | ">" | ">=" => "compare",
            _ => "combine",
        }
    }

    /// An infix operation with at least one operand that is known when running only.
    pub(super) fn tensor_binary(&mut self, op: BinaryOp, a: (Val, Span), b: (Val, Span), span: Span) -> Result<Val> {
        use BinaryOp::*;
        let name = match op {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Le | Ge => "le",
            Lt | Gt => "lt",
            Eq => "eq",
            And => "bit_and",
            Or => "bit_or",
            Pow => return self.power(a, b, span),
            FloorDiv | Rem => return self.floor_or_rest(op, a, b, span),
            Ne => {
                let equal = self.elementwise("eq", vec![a, b], span)?;
                return self.elementwise("bit_not", vec![(equal, span)], span);
            }
            Range => {
                return self.fail(Code::STATIC_TYPE, span, "the ends of a range are integers known when compiling");
            }
            Matmul => return self.matmul(a, b, span),
        };
        let operands = if matches!(op, Gt | Ge) { vec![b, a] } else { vec![a, b] };
        self.elementwise(name, operands, span)
    }

    fn power(&mut self, a: (Val, Span), b: (Val, Span), span: Span) -> Result<Val> {
        match b.0.as_int() {
            Some(n @ 1..=MULTIPLIED_OUT) if a.0.is_tensor() => {
                let mut product = a.clone();
                for _ in 1..n {
                    product = (self.elementwise("mul", vec![product, a.clone()], span)?, a.1);
                }
                Ok(product.0)
            }
            _ => self.elementwise("pow", vec![a, b], span),
        }
    }

    /// `//` rounds down and `%` has the sign of the divisor, as on sizes; the operators truncate.
    fn floor_or_rest(&mut self, op: BinaryOp, a: (Val, Span), b: (Val, Span), span: Span) -> Result<Val> {
        let both = [a.clone(), b.clone()];
        let elem = if both.iter().all(|(v, _)| v.is_number()) { Elem::F64 } else { self.common_elem(&both) };
        let quotient = self.elementwise("div", vec![a.clone(), b.clone()], span)?;
        if elem.is_float() {
            let floor = self.elementwise("floor", vec![(quotient, span)], span)?;
            return match op {
                BinaryOp::FloorDiv => Ok(floor),
                _ => {
                    let whole = self.elementwise("mul", vec![(floor, span), b], span)?;
                    self.elementwise("sub", vec![a, (whole, span)], span)
                }
            };
        }
        let rest = self.elementwise("rem", vec![a, b.clone()], span)?;
        if !elem.is_signed() {
            return Ok(if op == BinaryOp::FloorDiv { quotient } else { rest });
        }
        // The truncated quotient is one too large where the rest and the divisor have different signs.
        let zero = (Val::int(0), span);
        let negative_rest = self.elementwise("lt", vec![(rest.clone(), span), zero.clone()], span)?;
        let negative_divisor = self.elementwise("lt", vec![b.clone(), zero.clone()], span)?;
        let signs = self.elementwise("bit_xor", vec![(negative_rest, span), (negative_divisor, span)], span)?;
        let none = self.elementwise("eq", vec![(rest.clone(), span), zero.clone()], span)?;
        let some = self.elementwise("bit_not", vec![(none, span)], span)?;
        let off = self.elementwise("bit_and", vec![(signs, span), (some, span)], span)?;
        let (base, change, name) = match op {
            BinaryOp::FloorDiv => (quotient, (Val::int(1), span), "sub"),
            _ => (rest, b, "add"),
        };
        let changed = self.elementwise(name, vec![(base.clone(), span), change], span)?;
        self.elementwise("where", vec![(off, span), (changed, span), (base, span)], span)
    }

    /// `x @ w`: a right operand of rank 2 multiplies every row; leading dims broadcast.
    pub(super) fn matmul(&mut self, a: (Val, Span), b: (Val, Span), span: Span) -> Result<Val> {
        let (Val::Tensor(x), Val::Tensor(y)) = (&a.0, &b.0) else {
            return self.fail(Code::STATIC_TYPE, span, "`@` multiplies tensors");
        };
        let (x, y) = (*x, *y);
        let (left, right) = (self.graph.ty(x).clone(), self.graph.ty(y).clone());
        let label = format!("{} @ {}", shape_text(&left.dims), shape_text(&right.dims));
        let (m, n) = (left.rank(), right.rank());
        if m < 1 || n < 2 || (n > 2 && m < 2) {
            let message = format!("`@` needs a matrix on the right and rows on the left: {label}");
            return self.fail(Code::SHAPE, span, message);
        }
        let (inner_left, inner_right) = (&left.dims[m - 1], &right.dims[n - 2]);
        match self.graph.facts.eq(inner_left, inner_right) {
            Verdict::Proved => {}
            Verdict::Refuted => {
                let message = format!("matmul inner dimensions differ: {inner_left} and {inner_right}");
                let mut error = Diagnostic::new(Code::MATMUL, span, message).label(label);
                error = self.where_from(error, x, m - 1, "is the last axis of");
                error = self.where_from(error, y, n - 2, "is the last axis but one of");
                if n == 2
                    && let Some(out) = right.dims[1].as_int()
                {
                    let x = self.quote(a.1);
                    error = error.help(format!(
                        "for a learned map write `{x} |> Linear({out})`; it takes the input width from `{x}`"
                    ));
                }
                return Err(Box::new(error));
            }
            Verdict::Unknown => {
                return Err(Box::new(
                    self.unknown_equal(inner_left, inner_right, &self.quote(span), span).label(label),
                ));
            }
        }
        if n == 2 {
            let op = ops::Dot { contract_x: vec![m - 1], contract_y: vec![0], batch_x: vec![], batch_y: vec![] };
            return self.push(op, &[x, y], span).map(Val::Tensor);
        }
        let batch = match left.dims[..m - 2] == right.dims[..n - 2] {
            true => left.dims[..m - 2].to_vec(),
            false => self.broadcast_two((&left.dims[..m - 2], a.1), (&right.dims[..n - 2], b.1), span)?,
        };
        let x = self.expand(x, &[&batch[..], &left.dims[m - 2..]].concat(), a.1)?;
        let y = self.expand(y, &[&batch[..], &right.dims[n - 2..]].concat(), b.1)?;
        let axes: Vec<usize> = (0..batch.len()).collect();
        let k = batch.len();
        let op = ops::Dot { contract_x: vec![k + 1], contract_y: vec![k], batch_x: axes.clone(), batch_y: axes };
        self.push(op, &[x, y], span).map(Val::Tensor)
    }

    /// Points at the place in the source that fixed an axis of a declared tensor.
    fn where_from(&self, mut error: Diagnostic, value: Value, axis: usize, role: &str) -> Diagnostic {
        let Some(declared) = self.declared.get(&value) else { return error };
        let (Some(name), Some(dim)) = (&declared.name, declared.dims.get(axis)) else { return error };
        let size = &self.graph.ty(value).dims[axis];
        let text = self.sources.snippet(*dim);
        error = error.other(*dim, format!("{size} {role} `{name}`"));
        if let Some((Item::Const(item), _)) = self.modules[ROOT].items.get(text)
            && let ItemKind::Const { value, .. } = &item.kind
        {
            error = error.other(value.span, format!("{size} enters here"));
        }
        error
    }

    /// `x[…]`: slices, then one reshape that drops indexed axes and adds new ones.
    pub(super) fn index_tensor(&mut self, x: Value, items: &[Ix], span: Span, scope: &Rc<Scope>) -> Result<Val> {
        let rank = self.graph.ty(x).rank();
        let mut consumed = 0;
        for item in items {
            consumed += match item {
                Ix::Ellipsis(_) => 0,
                Ix::At(e) if matches!(e.kind, crate::ast::ExprKind::None) => 0,
                _ => 1,
            };
        }
        if consumed > rank {
            let shape = shape_text(&self.graph.ty(x).dims);
            return self.fail(Code::SHAPE, span, format!("{consumed} indices for a tensor of rank {rank}: {shape}"));
        }
        let mut value = x;
        let mut picked = vec![];
        // For each axis of the result: an axis of `value`, or a new one.
        let mut result: Vec<Option<usize>> = vec![];
        let mut axis = 0;
        for item in items {
            match item {
                Ix::Ellipsis(_) => {
                    let skip = rank - consumed;
                    result.extend((axis..axis + skip).map(Some));
                    axis += skip;
                }
                Ix::Full(_) => {
                    result.push(Some(axis));
                    axis += 1;
                }
                Ix::Slice { from, to, span } => {
                    value = self.slice(value, axis, from.as_ref(), to.as_ref(), *span, scope)?;
                    result.push(Some(axis));
                    axis += 1;
                }
                Ix::At(e) => match self.expr(e, scope)? {
                    Val::None => result.push(None),
                    Val::Tensor(i) => {
                        picked.push((i, axis, result.len(), e.span));
                        axis += 1;
                    }
                    Val::Num(i) => {
                        value = self.one_of(value, axis, &i, e.span)?;
                        axis += 1;
                    }
                    other => {
                        let message = format!("an index is an integer or an integer tensor, not {}", other.kind());
                        return self.fail(Code::STATIC_TYPE, e.span, message);
                    }
                },
                Ix::Group(_) | Ix::Each { .. } => {
                    return self.fail(Code::SYNTAX, span, "this stands in kernels and labels only");
                }
            }
        }
        result.extend((axis..rank).map(Some));
        match picked[..] {
            [] => {
                let dims = self.graph.ty(value).dims.clone();
                let shape = result.iter().map(|a| a.map_or(Dim::int(1), |a| dims[a].clone())).collect();
                self.reshape(value, shape, span).map(Val::Tensor)
            }
            _ => {
                let many: Vec<Span> = picked.iter().filter(|(i, ..)| self.ty(*i).rank() > 0).map(|p| p.3).collect();
                if let [first, second, ..] = many[..] {
                    let message = "two integer tensors read at once, which may mean pairs of places or all of them";
                    let error = Diagnostic::new(Code::SHAPE, second, message).other(first, "the other one");
                    let help = "all: x[i][:, j]; pairs in a kernel: out[k] = x[i[k], j[k]]";
                    return Err(Box::new(error.help(help)));
                }
                // Keep the picked axes through the reshape, then read along them, from the last on.
                let dims = self.graph.ty(value).dims.clone();
                for (n, (_, axis, at, _)) in picked.iter().enumerate() {
                    result.insert(at + n, Some(*axis));
                }
                let shape = result.iter().map(|a| a.map_or(Dim::int(1), |a| dims[a].clone())).collect();
                let mut value = self.reshape(value, shape, span)?;
                for (n, (i, _, at, at_span)) in picked.into_iter().enumerate().rev() {
                    value = self.push(ops::Take { axis: at + n }, &[value, i], at_span)?;
                }
                Ok(Val::Tensor(value))
            }
        }
    }

    /// One place of an axis, which stays with size 1.
    fn one_of(&mut self, x: Value, axis: usize, i: &Dim, span: Span) -> Result<Value> {
        let size = self.graph.ty(x).dims[axis].clone();
        let start = if i.as_int().is_some_and(|n| n < 0) { size.clone() + i.clone() } else { i.clone() };
        let stop = start.clone() + Dim::int(1);
        self.within([&Dim::int(0), &start, &stop, &size], &format!("index {i} of an axis of {size}"), span)?;
        if start == Dim::int(0) && size == Dim::int(1) {
            return Ok(x);
        }
        self.push(ops::Slice { axis, start, stop, step: 1 }, &[x], span)
    }

    fn slice(
        &mut self,
        x: Value,
        axis: usize,
        from: Option<&Expr>,
        to: Option<&Expr>,
        span: Span,
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        let size = self.graph.ty(x).dims[axis].clone();
        let (start, stop) = self.slice_ends(&size, from, to, span, scope)?;
        if start == Dim::int(0) && stop == size {
            return Ok(x);
        }
        self.push(ops::Slice { axis, start, stop, step: 1 }, &[x], span)
    }

    pub(super) fn ty(&self, value: Value) -> TensorType {
        self.graph.ty(value).clone()
    }
}

/// Two sizes without the names that are a factor of both.
fn without_common(a: Dim, b: Dim) -> (Dim, Dim) {
    let reduced = a.vars().into_iter().find_map(|v| Some((a.div(&Dim::var(&v))?, b.div(&Dim::var(&v))?)));
    match reduced {
        Some((a, b)) => without_common(a, b),
        None => (a, b),
    }
}

fn elem_text(elem: Elem, float: Elem) -> &'static str {
    if elem == float { "float" } else { elem.name() }
}

fn lcm(a: i128, b: i128) -> i128 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}

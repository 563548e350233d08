//! Expressions.

use super::call::Given;
use super::items::{Found, LIBRARY};
use super::report::reported;
use super::{Elaborator, Result, Scope, Val, nearest};
use crate::ast::{BinaryOp, Expr, ExprKind, Ix, Stage, StrPart, UnaryOp};
use diag::{Code, Diagnostic, Span};
use graph::{Dim, Elem, Fact, Verdict};
use std::rc::Rc;

/// Expressions inside each other, calls included, at most.
const DEPTH: usize = 20_000;

/// Expressions evaluated for one file, at most: many times those of the largest models, and a matter of seconds.
const EVALUATED: usize = 4_000_000;

/// The largest whole number that is written; sums of such numbers fit 64 bits.
pub(super) const LARGEST: i64 = 1 << 53;

/// Items of a range, at most.
const RANGE: i64 = 1_000_000;

/// What the compiler itself provides.
pub(super) const BUILTINS: &[&str] = &[
    "shape",
    "size",
    "rank",
    "len",
    "product",
    "is_fn",
    "is_known",
    "is_list",
    "is_tuple",
    "is_float",
    "rearrange",
    "einsum",
    "random_bits",
];

/// Operators of the language that cannot be called yet: the graph lacks them, or what they need is not provided.
pub(super) const PLANNED: &[&str] = &["quantize", "dequantize", "remat"];

impl Elaborator<'_> {
    pub(super) fn expr(&mut self, e: &Expr, scope: &Rc<Scope>) -> Result<Val> {
        if self.depth == DEPTH {
            return self.fail(Code::TOO_DEEP, e.span, "this is nested too deep; give parts of it names of their own");
        }
        self.evaluated += 1;
        if self.evaluated > EVALUATED {
            let message = format!("the model takes more than {EVALUATED} steps to elaborate");
            let error = Diagnostic::new(Code::TOO_LONG, e.span, message);
            return Err(Box::new(error.help("let loops and functions that call each other run less often")));
        }
        self.depth += 1;
        let value = self.expr_kind(e, scope);
        self.depth -= 1;
        value
    }

    fn too_large<T>(&self, span: Span) -> Result<T> {
        let message = "this is too large: exact numbers have 64 bits, and formulas of sizes at most 64 factors";
        self.advise(Code::STATIC_TYPE, span, message, "where it need not be exact, a float will do: 1.6e19")
    }

    /// What a name stands for: of what is stored, its present version.
    pub(super) fn read_stored(&mut self, value: Val) -> Val {
        match value {
            Val::Stored(full) => Val::Tensor(self.read(&full)),
            value => value,
        }
    }

    fn expr_kind(&mut self, e: &Expr, scope: &Rc<Scope>) -> Result<Val> {
        Ok(match &e.kind {
            ExprKind::Int(n) if *n > LARGEST => {
                return self.fail(Code::STATIC_TYPE, e.span, "this number is too large: whole numbers go to 2 ** 53");
            }
            ExprKind::Int(n) => Val::int(*n),
            ExprKind::Float(x) => Val::Float(*x),
            ExprKind::Bool(b) => Val::Bool(*b),
            ExprKind::None => Val::None,
            ExprKind::Str(parts) => Val::Str(self.string(parts, scope)?.into()),
            ExprKind::Name(name) => {
                let value = self.name(name, e.span, scope)?;
                self.read_stored(value)
            }
            ExprKind::List(items) => Val::list(items.iter().map(|i| self.expr(i, scope)).collect::<Result<Vec<_>>>()?),
            ExprKind::ListFor { value, pattern, over } => {
                let mut items = vec![];
                let inner = Scope::inside(scope);
                for item in self.items_of(over, scope)? {
                    self.match_pattern(pattern, item, &inner)?;
                    items.push(self.expr(value, &inner)?);
                }
                Val::list(items)
            }
            ExprKind::Tuple(args) => {
                let field =
                    |a: &crate::ast::Arg| Ok((a.name.as_ref().map(|n| n.text.clone()), self.expr(&a.value, scope)?));
                Val::Tuple(Rc::new(args.iter().map(field).collect::<Result<_>>()?))
            }
            ExprKind::If { condition, then, otherwise } => self.if_(condition, then, otherwise.as_deref(), scope)?,
            ExprKind::Scan(scan) => self.scan(scan, e.span, scope)?,
            ExprKind::Lambda { params, body } => Val::Lambda(Rc::new((params.clone(), body.clone())), scope.clone()),
            ExprKind::Call { callee, args } => {
                let callee = self.expr(callee, scope)?;
                let given = self.given(args, scope)?;
                self.call(callee, given, e.span)?
            }
            ExprKind::Index { base, items } => {
                let value = self.expr(base, scope)?;
                self.index(value, items, e.span, scope)?
            }
            ExprKind::Field { base, name } => {
                let value = self.expr(base, scope)?;
                let value = self.field(value, &name.text, name.span)?;
                self.read_stored(value)
            }
            ExprKind::Unary { op, operand } => {
                let value = self.expr(operand, scope)?;
                self.unary(*op, value, e.span)?
            }
            ExprKind::Binary { op, left, right } => {
                let a = self.expr(left, scope)?;
                match (op, &a) {
                    (BinaryOp::And, Val::Bool(false)) | (BinaryOp::Or, Val::Bool(true)) => return Ok(a),
                    _ => {}
                }
                let b = self.expr(right, scope)?;
                self.binary(*op, (a, left.span), (b, right.span), e.span)?
            }
            ExprKind::Pipe { source, stages } => {
                let mut value = self.expr(source, scope)?;
                let mut span = source.span;
                for stage in stages {
                    value = self.stage(stage, (value, span), scope)?;
                    span = source.span.to(stage.span);
                }
                value
            }
        })
    }

    fn string(&mut self, parts: &[StrPart], scope: &Rc<Scope>) -> Result<String> {
        let mut text = String::new();
        for part in parts {
            match part {
                StrPart::Text(t) => text.push_str(t),
                StrPart::Hole(e) => {
                    let value = self.expr(e, scope)?;
                    text.push_str(&self.text_of(&value, e.span)?);
                }
            }
        }
        Ok(text)
    }

    /// A static value as part of a name.
    fn text_of(&self, value: &Val, span: Span) -> Result<String> {
        match value {
            Val::Str(s) => Ok(s.to_string()),
            Val::Num(d) if d.as_rational().is_some() => Ok(d.to_string()),
            other => {
                self.fail(Code::STATIC_TYPE, span, format!("a name holds integers and strings, not {}", other.kind()))
            }
        }
    }

    pub(super) fn name(&mut self, name: &str, span: Span, scope: &Rc<Scope>) -> Result<Val> {
        match scope.get(name) {
            Some(Val::Error) => return reported(),
            Some(value) => return Ok(value),
            None => {}
        }
        match self.find(name, scope.module)? {
            Some(Found::Item(item, module)) => return self.item(name, item, module, span),
            Some(Found::Module(module)) => return Ok(Val::Module(module)),
            Some(Found::Failed) => return reported(),
            None => {}
        }
        if let Ok(elem) = name.parse::<Elem>() {
            return Ok(Val::Elem(elem));
        }
        match name {
            "training" => return Ok(Val::Bool(self.training)),
            "float" => return Ok(Val::Elem(self.float())),
            "inf" => return Ok(Val::Float(f64::INFINITY)),
            "pi" => return Ok(Val::Float(std::f64::consts::PI)),
            "step" if self.in_training => return Ok(self.step_count(span)),
            "step" => {
                return self.fail(Code::TRAINING, span, "`step` counts updates; it has a value in `train` blocks only");
            }
            _ => {}
        }
        if let Some(builtin) = BUILTINS.iter().find(|b| **b == name) {
            return Ok(Val::Builtin(builtin));
        }
        if PLANNED.contains(&name) {
            return self.fail(Code::NOT_YET, span, format!("the operator `{name}` is not compiled yet"));
        }
        if let Some(info) = graph::ops::ALL.iter().find(|i| i.name == name) {
            return Ok(Val::Primitive(info));
        }
        Err(Box::new(self.unknown_name(name, span, scope)))
    }

    fn unknown_name(&self, name: &str, span: Span, scope: &Rc<Scope>) -> Diagnostic {
        let own = scope.names();
        let items = [self.names_of(scope.module), self.names_of(LIBRARY)].concat();
        let known = own.iter().chain(&items).map(String::as_str);
        let known = known.chain(BUILTINS.iter().copied()).chain(graph::ops::ALL.iter().map(|i| i.name));
        let message = match nearest(name, known) {
            // What the file as a whole knows has no value on this path.
            _ if !self.errors.iter().any(|e| e.code == Code::UNKNOWN_NAME) && !is_dim(name) => {
                let error = Diagnostic::new(Code::UNKNOWN_NAME, span, format!("`{name}` has no value here"));
                return error.help("it is set in a branch or loop that does not run; set it before");
            }
            Some(near) => format!("unknown name `{name}`; did you mean `{near}`?"),
            None => format!("unknown name `{name}`"),
        };
        Diagnostic::new(Code::UNKNOWN_NAME, span, message)
    }

    /// `x |> f(a)` is `f(x, a)`; for a layer that is built here, the layer's configuration comes first.
    fn stage(&mut self, stage: &Stage, (source, source_span): (Val, Span), scope: &Rc<Scope>) -> Result<Val> {
        let Some(label) = &stage.label else {
            let (callee, rest) = self.stage_callee(&stage.call, scope)?;
            return self.feed(callee, (source, source_span), rest, stage.span);
        };
        let mut value = source;
        for (segments, inner) in self.label(label, scope)? {
            let (callee, rest) = self.stage_callee(&stage.call, &inner)?;
            let Val::Instance(instance) = callee else {
                let message = format!("the label `{segments}` stands on {}; labels name layers", callee.kind());
                let error = Diagnostic::new(Code::LABEL_ON_FUNCTION, label.span, message);
                return Err(Box::new(error.help("leave the label out: only what owns weights has a name")));
            };
            if let Some(path) = instance.place.borrow().as_ref() {
                let message = format!("this layer is called `{path}` already; it cannot also be `{segments}`");
                return self.fail(Code::LABEL_REUSED, label.span, message);
            }
            self.claim_label(&segments, label, stage.call.span)?;
            let instance = self.settle(instance, &segments);
            value = self.feed(Val::Instance(instance), (value, source_span), rest, stage.span)?;
        }
        Ok(value)
    }

    fn feed(&mut self, callee: Val, source: (Val, Span), rest: Vec<Given>, span: Span) -> Result<Val> {
        let first = Given { name: None, value: source.0, span: source.1 };
        self.call(callee, std::iter::once(first).chain(rest).collect(), span)
    }

    /// What a stage calls, and its arguments after the piped one.
    fn stage_callee(&mut self, call: &Expr, scope: &Rc<Scope>) -> Result<(Val, Vec<Given>)> {
        let (value, rest) = match &call.kind {
            ExprKind::Call { callee, args } => {
                let callee = self.expr(callee, scope)?;
                let given = self.given(args, scope)?;
                match callee {
                    Val::Layer(_) => (self.call(callee, given, call.span)?, vec![]),
                    callee => (callee, given),
                }
            }
            _ => (self.expr(call, scope)?, vec![]),
        };
        match value {
            Val::Layer(module) => Err(Box::new(self.not_built(&module, call.span))),
            value => Ok((value, rest)),
        }
    }

    /// The names a label stands for, each with the scope in which its call is evaluated.
    fn label(&mut self, label: &Expr, scope: &Rc<Scope>) -> Result<Vec<(String, Rc<Scope>)>> {
        let each = |names: Vec<(String, Rc<Scope>)>, f: &dyn Fn(&str) -> String| {
            names.into_iter().map(|(n, s)| (f(&n), s)).collect::<Vec<_>>()
        };
        match &label.kind {
            ExprKind::Name(word) => Ok(vec![(word.clone(), scope.clone())]),
            ExprKind::Str(parts) => Ok(vec![(self.string(parts, scope)?, scope.clone())]),
            ExprKind::Field { base, name } => {
                let names = self.label(base, scope)?;
                Ok(each(names, &|n| format!("{n}.{}", name.text)))
            }
            ExprKind::Index { base, items } => {
                let names = self.label(base, scope)?;
                let ([item], [(name, _)]) = (&items[..], &names[..]) else {
                    return self.fail(Code::SYNTAX, label.span, "a label has one range or index: h[0..n]");
                };
                let indices: Vec<(String, Rc<Scope>)> = match item {
                    Ix::At(e) => {
                        let value = self.expr(e, scope)?;
                        vec![(self.text_of(&value, e.span)?, scope.clone())]
                    }
                    Ix::Each { name, over } => {
                        let mut out = vec![];
                        for item in self.items_of(over, scope)? {
                            let inner = Scope::inside(scope);
                            out.push((self.text_of(&item, over.span)?, inner.clone()));
                            inner.set(&name.text, item);
                        }
                        out
                    }
                    Ix::Slice { from: Some(from), to: Some(to), span } => {
                        let (a, b) = (self.expr(from, scope)?, self.expr(to, scope)?);
                        let range = self.range(&a, &b, *span)?;
                        range.map(|i| (i.to_string(), scope.clone())).collect()
                    }
                    _ => return self.fail(Code::SYNTAX, label.span, "a label's range has two ends: h[0..n]"),
                };
                Ok(indices.into_iter().map(|(i, s)| (format!("{name}.{i}"), s)).collect())
            }
            _ => {
                let message = "a label is made of words, strings, fields and indices";
                let error = Diagnostic::new(Code::SYNTAX, label.span, message);
                Err(Box::new(error.help("for example block.fc1, h[i], \"block.{i}\".fc1")))
            }
        }
    }

    fn range(&self, a: &Val, b: &Val, span: Span) -> Result<std::ops::Range<i64>> {
        match (a.as_int(), b.as_int()) {
            (Some(a), Some(b)) if b.saturating_sub(a) <= RANGE => Ok(a..b),
            (Some(_), Some(_)) => self.fail(Code::STATIC_TYPE, span, format!("a range has at most {RANGE} items")),
            _ => {
                let odd = if a.as_int().is_none() { a } else { b };
                let message = format!("the ends of a range are integers known when compiling, not {}", odd.kind());
                self.fail(Code::STATIC_TYPE, span, message)
            }
        }
    }

    pub(super) fn field(&mut self, value: Val, name: &str, span: Span) -> Result<Val> {
        match &value {
            Val::Tuple(fields) => match fields.iter().find(|(n, _)| n.as_deref() == Some(name)) {
                Some((_, v)) => Ok(v.clone()),
                None => {
                    let names: Vec<String> = fields.iter().filter_map(|(n, _)| n.clone()).collect();
                    self.fail(
                        Code::UNKNOWN_NAME,
                        span,
                        format!("no field `{name}`; there is {}", super::list_of(&names)),
                    )
                }
            },
            Val::Tensor(t) if name == "T" => {
                let rank = self.graph.ty(*t).rank();
                if rank < 2 {
                    let message = format!("`.T` swaps the last two axes; this tensor has rank {rank}");
                    let error = Diagnostic::new(Code::SHAPE, span, message);
                    return Err(Box::new(error.help("x[none, :] makes a row of it, x[:, none] a column")));
                }
                let mut order: Vec<usize> = (0..rank).collect();
                order.swap(rank - 1, rank - 2);
                self.push(graph::ops::Transpose { order }, &[*t], span).map(Val::Tensor)
            }
            Val::Tensor(_) => {
                let help = match name {
                    "shape" | "size" | "ndim" | "dtype" => "write shape(x), size(x, 0) or rank(x)".to_string(),
                    "float" | "int" | "to" | "long" | "half" => "write cast(x, float), cast(x, i32) …".to_string(),
                    "view" => "write reshape(x, [B, 4])".to_string(),
                    other => {
                        format!("only `.T` stands after a tensor; functions are called: {other}(x), or x |> {other}")
                    }
                };
                let error = Diagnostic::new(Code::UNKNOWN_NAME, span, format!("a tensor has no field `{name}`"));
                Err(Box::new(error.help(help)))
            }
            Val::Instance(instance) => self.stored_field(instance, name, span),
            Val::Module(module) => self.module_field(*module, name, span),
            other => self.fail(Code::UNKNOWN_NAME, span, format!("{} has no field `{name}`", other.kind())),
        }
    }

    fn unary(&mut self, op: UnaryOp, value: Val, span: Span) -> Result<Val> {
        match (op, value) {
            (UnaryOp::Neg, Val::Num(d)) => Ok(Val::Num(d.times(-1))),
            (UnaryOp::Neg, Val::Float(x)) => Ok(Val::Float(-x)),
            (UnaryOp::Neg, v @ (Val::Tensor(_) | Val::Scalar(_))) => self.elementwise("neg", vec![(v, span)], span),
            (UnaryOp::Not, Val::Bool(b)) => Ok(Val::Bool(!b)),
            (UnaryOp::Not, v @ (Val::Tensor(_) | Val::Fact(_))) => self.elementwise("bit_not", vec![(v, span)], span),
            (UnaryOp::Neg, v) => {
                self.fail(Code::STATIC_TYPE, span, format!("`-` takes numbers and tensors, not {}", v.kind()))
            }
            (UnaryOp::Not, v) => self.fail(Code::STATIC_TYPE, span, format!("`not` takes booleans, not {}", v.kind())),
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: (Val, Span), b: (Val, Span), span: Span) -> Result<Val> {
        use BinaryOp::*;
        match (op, &a.0, &b.0) {
            (Eq | Ne, x, y) if matches!(x, Val::None) || matches!(y, Val::None) => {
                let both = matches!((x, y), (Val::None, Val::None));
                Ok(Val::Bool(both == (op == Eq)))
            }
            (Range, x, y) => Ok(Val::list(self.range(x, y, span)?.map(Val::int))),
            (Add, Val::List(x), Val::List(y)) => Ok(Val::list(x.iter().chain(y.iter()).cloned())),
            (Add, Val::Str(x), Val::Str(y)) => Ok(Val::Str(format!("{x}{y}").into())),
            (Matmul, x, y) if x.is_tensor() && y.is_tensor() => self.matmul(a, b, span),
            (Matmul, ..) => self.fail(Code::STATIC_TYPE, span, "`@` multiplies tensors"),
            (_, x, y) if x.is_tensor() || y.is_tensor() => self.tensor_binary(op, a, b, span),
            (_, Val::Num(x), Val::Num(y)) => self.exact(op, &x.clone(), &y.clone(), span),
            (_, x, y) if x.is_number() && y.is_number() => self.approximate(op, a, b, span),
            (And | Or, Val::Bool(x), Val::Bool(y)) => Ok(Val::Bool(if op == And { *x && *y } else { *x || *y })),
            (And, Val::Bool(true), Val::Fact(_)) | (Or, Val::Bool(false), Val::Fact(_)) => Ok(b.0),
            (Eq | Ne, x, y) => match same(x, y) {
                Some(equal) => Ok(Val::Bool(equal == (op == Eq))),
                None => self.fail(Code::STATIC_TYPE, span, format!("cannot compare {} and {}", x.kind(), y.kind())),
            },
            (_, x, y) => {
                let message = format!("this operation does not go with {} and {}", x.kind(), y.kind());
                self.fail(Code::STATIC_TYPE, span, message)
            }
        }
    }

    /// Arithmetic of exact numbers: nothing is rounded; what has no exact form is computed while running.
    fn exact(&mut self, op: BinaryOp, a: &Dim, b: &Dim, span: Span) -> Result<Val> {
        use BinaryOp::*;
        let zero = Dim::int(0);
        if matches!(op, Div | FloorDiv | Rem) && *b == zero {
            return self.fail(Code::STATIC_TYPE, span, "division by zero");
        }
        if matches!(op, Add | Sub | Mul | Div | FloorDiv | Rem) && !small(a, b) {
            return self.too_large(span);
        }
        Ok(match op {
            Add => Val::Num(a.clone() + b.clone()),
            Sub => Val::Num(a.clone() - b.clone()),
            Mul => Val::Num(a.clone() * b.clone()),
            Div => match a.div(b) {
                Some(quotient) => Val::Num(quotient),
                None => return self.approximate(op, (Val::Num(a.clone()), span), (Val::Num(b.clone()), span), span),
            },
            FloorDiv | Rem => {
                let quotient = match (a.as_rational(), b.as_rational()) {
                    (Some(x), Some(y)) => Dim::rational((x / y).floor()),
                    _ if op == Rem => return Ok(Val::Num(a.rem(b))),
                    _ => a.floor_div(b),
                };
                match op {
                    FloorDiv => Val::Num(quotient),
                    _ => Val::Num(a.clone() - quotient * b.clone()),
                }
            }
            Pow => match b.as_int() {
                Some(n @ 0..=64) => {
                    let mut product = Dim::int(1);
                    for _ in 0..n {
                        if !small(&product, a) {
                            return self.too_large(span);
                        }
                        product = product * a.clone();
                    }
                    Val::Num(product)
                }
                Some(n @ -64..0) if a.as_rational().is_some() && *a != zero => {
                    let positive = self.exact(Pow, a, &Dim::int(-n), span)?;
                    let Val::Num(power) = positive else { return Ok(positive) };
                    return self.exact(Div, &Dim::int(1), &power, span);
                }
                _ => return self.approximate(op, (Val::Num(a.clone()), span), (Val::Num(b.clone()), span), span),
            },
            Eq => self.fact(divides(a, b).unwrap_or_else(|| Fact::Eq(a.clone(), b.clone()))),
            Le => self.fact(Fact::Le(a.clone(), b.clone())),
            Ge => self.fact(Fact::Le(b.clone(), a.clone())),
            Lt => self.fact(Fact::Le(a.clone() + Dim::int(1), b.clone())),
            Gt => self.fact(Fact::Le(b.clone() + Dim::int(1), a.clone())),
            Ne => match self.fact(Fact::Eq(a.clone(), b.clone())) {
                Val::Bool(equal) => Val::Bool(!equal),
                unknown => return self.elementwise("bit_not", vec![(unknown, span)], span),
            },
            Range | And | Or | Matmul => {
                return self.fail(Code::STATIC_TYPE, span, "this operation does not take numbers");
            }
        })
    }

    /// A condition on sizes, decided if what is known decides it.
    pub(super) fn fact(&self, fact: Fact) -> Val {
        // Fractions compare exactly.
        if let Fact::Le(a, b) = &fact
            && let (Some(a), Some(b)) = (a.as_rational(), b.as_rational())
        {
            return Val::Bool(a <= b);
        }
        match self.graph.facts.holds(&fact) {
            // What the entry checks already is true from there on.
            Verdict::Unknown if self.graph.guards.iter().any(|g| g.fact == fact) => Val::Bool(true),
            Verdict::Proved => Val::Bool(true),
            Verdict::Refuted => Val::Bool(false),
            Verdict::Unknown => Val::Fact(Rc::new(fact)),
        }
    }

    /// Arithmetic where a number is approximate, or a quotient of sizes that has no exact form.
    fn approximate(&mut self, op: BinaryOp, a: (Val, Span), b: (Val, Span), span: Span) -> Result<Val> {
        use BinaryOp::*;
        let (Some(x), Some(y)) = (a.0.as_f64(), b.0.as_f64()) else { return self.tensor_binary(op, a, b, span) };
        Ok(match op {
            Add => Val::Float(x + y),
            Sub => Val::Float(x - y),
            Mul => Val::Float(x * y),
            Div => Val::Float(x / y),
            FloorDiv => Val::Float((x / y).floor()),
            Rem => Val::Float(x - (x / y).floor() * y),
            Pow => Val::Float(x.powf(y)),
            Eq => Val::Bool(x == y),
            Ne => Val::Bool(x != y),
            Le => Val::Bool(x <= y),
            Ge => Val::Bool(x >= y),
            Lt => Val::Bool(x < y),
            Gt => Val::Bool(x > y),
            Range | And | Or | Matmul => {
                return self.fail(Code::STATIC_TYPE, span, "this operation does not take numbers");
            }
        })
    }

    fn index(&mut self, value: Val, items: &[Ix], span: Span, scope: &Rc<Scope>) -> Result<Val> {
        let list: Vec<Val> = match &value {
            Val::Tensor(t) => return self.index_tensor(*t, items, span, scope),
            Val::List(items) => items.to_vec(),
            Val::Tuple(fields) => fields.iter().map(|(_, v)| v.clone()).collect(),
            other => return self.fail(Code::STATIC_TYPE, span, format!("{} has no items", other.kind())),
        };
        let n = list.len() as i64;
        let [item] = items else { return self.fail(Code::STATIC_TYPE, span, "a list takes one index") };
        let mut end = |e: &Expr, whole: i64| match self.expr(e, scope)?.as_int() {
            Some(i) if (-n..=whole).contains(&i) => Ok(if i < 0 { i + n } else { i } as usize),
            Some(i) => self.fail(Code::OUT_OF_RANGE, e.span, format!("item {i} of a list of {n}")),
            None => self.fail(Code::STATIC_TYPE, e.span, "a list's index is an integer known when compiling"),
        };
        match item {
            Ix::At(e) => {
                let at = end(e, n - 1)?;
                Ok(list[at].clone())
            }
            Ix::Full(_) | Ix::Ellipsis(_) => Ok(value),
            Ix::Slice { from, to, span } => {
                let from = from.as_ref().map_or(Ok(0), |e| end(e, n))?;
                let to = to.as_ref().map_or(Ok(list.len()), |e| end(e, n))?;
                match from <= to {
                    true => Ok(Val::list(list[from..to].iter().cloned())),
                    false => {
                        self.fail(Code::OUT_OF_RANGE, *span, format!("the slice {from}..{to} ends before it starts"))
                    }
                }
            }
            Ix::Group(_) | Ix::Each { .. } => self.fail(Code::SYNTAX, span, "this stands in kernels and labels only"),
        }
    }
}

fn is_dim(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

/// `of % divisor == 0` as a fact.
fn divides(a: &Dim, b: &Dim) -> Option<Fact> {
    let mut terms = a.terms();
    let (monomial, factor) = terms.next()?;
    match (&monomial[..], terms.next()) {
        ([(graph::dim::Atom::Rem(of, divisor), 1)], None) if factor == 1.into() && *b == Dim::int(0) => {
            Some(Fact::Divides { divisor: (**divisor).clone(), of: (**of).clone() })
        }
        _ => None,
    }
}

/// Whether sums, products and quotients of these are sure to fit 64 bits.
fn small(a: &Dim, b: &Dim) -> bool {
    const DEGREE: u32 = 64;
    const TERMS: u128 = 1 << 12;
    let size = |d: &Dim| {
        let parts = d.terms().map(|(_, c)| c.numer().unsigned_abs().max(c.denom().unsigned_abs()));
        parts.fold((1, 1u128), |(most, terms), part| (most.max(part), terms + 1))
    };
    let ((a_most, s), (b_most, t)) = (size(a), size(b));
    s * t <= TERMS && a.degree() + b.degree() <= DEGREE && a_most.saturating_mul(b_most) < (1 << 62) / (s * t)
}

/// Whether two static values are equal; `None` if they cannot be compared.
fn same(a: &Val, b: &Val) -> Option<bool> {
    Some(match (a, b) {
        (Val::Bool(x), Val::Bool(y)) => x == y,
        (Val::Str(x), Val::Str(y)) => x == y,
        (Val::Elem(x), Val::Elem(y)) => x == y,
        (Val::Num(x), Val::Num(y)) => x == y,
        (Val::Float(_) | Val::Num(_), Val::Float(_) | Val::Num(_)) => a.as_f64()? == b.as_f64()?,
        (Val::List(x), Val::List(y)) => {
            x.len() == y.len()
                && x.iter().zip(y.iter()).map(|(x, y)| same(x, y)).collect::<Option<Vec<_>>>()?.iter().all(|e| *e)
        }
        _ => return None,
    })
}

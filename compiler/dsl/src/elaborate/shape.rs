//! Types against values: dims are bound by matching, and what must hold is judged.

use super::items::{Found, Item};
use super::{Elaborator, Result, Scope, Val};
use crate::ast::{self, BinaryOp, DimTy, Expr, ExprKind, Name, Ty, TyKind};
use diag::{Code, Diagnostic, Span};
use graph::{Dim, Elem, Guard, TensorType, Verdict};
use std::fmt;
use std::rc::Rc;

/// What a type is stated for, and where the value comes from.
#[derive(Clone, Copy)]
pub(crate) struct Place<'t> {
    pub what: What<'t>,
    pub ty: &'t Ty,
    pub span: Span,
}

/// What has a type.
#[derive(Clone, Copy)]
pub(crate) enum What<'t> {
    Param { name: &'t str, callee: &'t str },
    Result(&'t str),
    Name(&'t str),
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            What::Param { name, callee } => write!(f, "`{name}` of {callee}"),
            What::Result(callee) => write!(f, "the result of {callee}"),
            What::Name(name) => write!(f, "`{name}`"),
        }
    }
}

/// A declared dim and the actual one.
pub(crate) struct Goal<'t> {
    declared: &'t Expr,
    actual: Dim,
    place: Place<'t>,
    /// The whole actual type, for messages.
    found: TensorType,
}

/// What a dim of a signature means here.
enum Meaning {
    Known(Dim),
    /// One name in it is new; with it written as `_`, the dim is this.
    Binds(String, Dim),
    /// Several names are new.
    Open,
}

/// Stands for the unknown while a dim is solved for it; no name in a model contains a space.
const UNKNOWN: &str = " ";

/// How values of the types of settings are written.
const WRITTEN: &[(&str, &str)] = &[
    ("int", "an int is a whole number, without quotes and without a point: 8"),
    ("float", "a float is a number without quotes: 0.5"),
    ("bool", "a bool is true or false, without quotes"),
    ("string", "a string stands in quotes: \"same\""),
];

impl Elaborator<'_> {
    pub(super) fn element(&mut self, elem: Option<&Name>, scope: &Rc<Scope>) -> Result<Elem> {
        let Some(name) = elem else { return Ok(self.float()) };
        match self.name(&name.text, name.span, scope)? {
            Val::Elem(e) => Ok(e),
            other => {
                self.fail(Code::ELEMENT_TYPE, name.span, format!("expected an element type, got {}", other.kind()))
            }
        }
    }

    /// A dim of a tensor.
    pub(super) fn dim(&mut self, e: &Expr, scope: &Rc<Scope>) -> Result<Dim> {
        if let ExprKind::Name(name) = &e.kind
            && scope.get(name).is_none()
            && self.find(name, scope.module)?.is_none()
        {
            let mut error = self.name(name, e.span, scope).map(|_| ()).err().unwrap_or_else(|| {
                Box::new(Diagnostic::new(Code::STATIC_TYPE, e.span, format!("`{name}` is no size")))
            });
            error.message.push_str(" (a new dim starts with a capital)");
            return Err(error);
        }
        let value = self.expr(e, scope)?;
        self.as_dim(&value, e.span)
    }

    /// The dims of a type that states all of them; `hole` is what is said of one that it leaves open.
    pub(super) fn stated_dims(&mut self, dims: &[DimTy], scope: &Rc<Scope>, hole: &str) -> Result<Vec<Dim>> {
        let mut stated = vec![];
        for dim in dims {
            match dim {
                DimTy::Expr(e) => stated.push(self.dim(e, scope)?),
                DimTy::Shape(name) => stated.extend(self.shape_named(name, scope)?),
                DimTy::Hole(span) => return self.fail(Code::SHAPE, *span, hole),
            }
        }
        Ok(stated)
    }

    pub(super) fn as_dim(&mut self, value: &Val, span: Span) -> Result<Dim> {
        let text = self.sources.snippet(span);
        match value {
            Val::Tensor(t) => match self.known_integers(*t, None)?.as_deref() {
                Some([size]) => self.as_dim(&Val::Num(size.clone()), span),
                _ => {
                    let message = format!("`{text}` is known when running only; it is no size of a tensor");
                    let error = Diagnostic::new(Code::SHAPE, span, message);
                    Err(Box::new(error.help("what has such a size is a slice: x[0..n]")))
                }
            },
            Val::Num(d) if d.is_integral() || self.graph.facts.normalize(d).is_integral() => match d.as_int() {
                Some(n) if !(0..1 << 40).contains(&n) => {
                    let message = format!("`{text}` is {n}, which is no size of a tensor");
                    self.advise(Code::SHAPE, span, message, "sizes go from 0 to 2 ** 40")
                }
                _ => Ok(d.clone()),
            },
            Val::Num(d) if d.as_rational().is_some() => {
                let message = format!("`{text}` is {d}, which is no whole number");
                self.advise(Code::SHAPE, span, message, "round down with `//`, or choose sizes that divide")
            }
            Val::Num(d) => {
                let error =
                    Diagnostic::new(Code::SHAPE, span, format!("cannot show that `{text}` = {d} is a whole number"));
                Err(Box::new(error.help("state what divides it: where H % 2 == 0; or round down with `//`")))
            }
            Val::Scalar(_) => {
                let message = format!("`{text}` is a quotient of sizes, which is no size of a tensor");
                self.advise(Code::SHAPE, span, message, "round down with `//`")
            }
            other => self.fail(Code::STATIC_TYPE, span, format!("a size is an integer, not {}", other.kind())),
        }
    }

    /// The dims that `..S` stands for.
    pub(super) fn shape_named(&mut self, name: &Name, scope: &Rc<Scope>) -> Result<Vec<Dim>> {
        match self.name(&name.text, name.span, scope)? {
            Val::List(items) => items.iter().map(|v| self.as_dim(v, name.span)).collect(),
            other => {
                self.fail(Code::SHAPE, name.span, format!("`..{}` is a list of sizes, not {}", name.text, other.kind()))
            }
        }
    }

    /// Checks a value against a stated type, binding dims and element types that are new in it.
    pub(super) fn match_type(&mut self, value: &Val, ty: &Ty, place: &Place, scope: &Rc<Scope>) -> Result<()> {
        let mut goals = vec![];
        self.match_value(value, ty, &Place { ty, ..*place }, scope, &mut goals)?;
        self.solve(goals, scope)
    }

    /// As [`Self::match_type`], leaving the dims as goals.
    pub(super) fn match_value<'t>(
        &mut self,
        value: &Val,
        ty: &'t Ty,
        place: &Place<'t>,
        scope: &Rc<Scope>,
        goals: &mut Vec<Goal<'t>>,
    ) -> Result<()> {
        if ty.optional && matches!(value, Val::None) {
            return Ok(());
        }
        match &ty.kind {
            TyKind::Tensor { elem, dims } => match value {
                Val::Tensor(t) => {
                    let found = self.graph.ty(*t).clone();
                    self.match_elem(elem.as_ref(), *t, place, scope)?;
                    self.match_dims(dims, found, place, scope, goals)
                }
                v if v.is_number() || matches!(v, Val::Bool(_) | Val::Fact(_)) => {
                    let found = TensorType::new(self.float(), vec![]);
                    self.match_dims(dims, found, place, scope, goals)
                }
                other => self.wrong_kind(other, place),
            },
            TyKind::Tuple(fields) => {
                let items: Vec<Val> = match value {
                    Val::Tuple(items) => items.iter().map(|(_, v)| v.clone()).collect(),
                    Val::List(items) => items.to_vec(),
                    other => return self.wrong_kind(other, place),
                };
                if items.len() != fields.len() {
                    let message = format!("{} has {} values, got {}", place.what, fields.len(), items.len());
                    return self.fail(Code::SHAPE, place.span, message);
                }
                fields.iter().zip(items).try_for_each(|((name, ty), item)| {
                    let what = name.as_ref().map_or(place.what, |n| What::Name(n));
                    self.match_value(&item, ty, &Place { what, ty, span: place.span }, scope, goals)
                })
            }
            TyKind::Named { path, arguments } => {
                let fits = match (path.as_str(), value) {
                    ("int", Val::Num(d)) => d.is_integral() || self.graph.facts.normalize(d).is_integral(),
                    ("float", v) => v.is_number(),
                    ("bool", v) => matches!(v, Val::Bool(_)),
                    ("string", v) => matches!(v, Val::Str(_)),
                    ("list", Val::List(items)) => {
                        let items = items.clone();
                        if let [ty] = &arguments[..] {
                            for item in items.iter() {
                                self.match_value(item, ty, place, scope, goals)?;
                            }
                        }
                        true
                    }
                    ("fn", v) => self.match_function(v, arguments, scope, place.span)?,
                    ("stream", v) => self.match_stream(v, arguments.first(), scope, place.span)?,
                    ("metric", v) => matches!(v, Val::Metric(_)),
                    ("rule" | "augmentation", Val::Opaque(kind, _)) => **kind == **path,
                    (name, value) => match self.find_path(name, scope.module)? {
                        Some(Found::Item(Item::Type(ty), _)) => {
                            return self.match_type(value, &ty, place, scope);
                        }
                        _ if ["int", "list", "tensor", "stream", "metric", "rule", "augmentation"].contains(&name) => {
                            false
                        }
                        _ => return self.fail(Code::UNKNOWN_NAME, ty.span, format!("unknown type `{name}`")),
                    },
                };
                if fits { Ok(()) } else { self.wrong_kind(value, place) }
            }
        }
    }

    fn wrong_kind<T>(&self, value: &Val, place: &Place) -> Result<T> {
        let ty = self.sources.snippet(place.ty.span);
        let got = match value {
            Val::Num(d) => d.to_string(),
            other => other.kind().to_string(),
        };
        let message = format!("{} must be {ty}, got {got}", place.what);
        let error = Diagnostic::new(Code::STATIC_TYPE, place.span, message);
        Err(Box::new(match (place.what, value) {
            (What::Result(_), Val::None) => error.help("the last line of a block is its value: end with a line `y`"),
            (_, Val::None) => error.help("where none is allowed the type ends with `?`: mask: bool[B, T]? = none"),
            _ => match WRITTEN.iter().find(|(name, _)| *name == ty) {
                Some((_, written)) => error.help(*written),
                None => error,
            },
        }))
    }

    fn match_elem(&mut self, elem: Option<&Name>, value: graph::Value, place: &Place, scope: &Rc<Scope>) -> Result<()> {
        let found = self.graph.ty(value).clone();
        if let Some(name) = elem
            && name.text.starts_with(char::is_uppercase)
            && scope.get(&name.text).is_none()
        {
            scope.set(&name.text, Val::Elem(found.elem));
            return Ok(());
        }
        let expected = self.element(elem, scope)?;
        if expected == found.elem {
            return Ok(());
        }
        let ty = self.sources.snippet(place.ty.span);
        let ty = if elem.is_none() { format!("float{ty}") } else { ty.to_string() };
        let message = format!("{} must be {ty}, got {}", place.what, self.type_text(&found));
        let mut error = Diagnostic::new(Code::ELEMENT_TYPE, place.span, message);
        let declared = self.declared.get(&value);
        error = match declared {
            Some(d) if !d.states_elem && d.name.is_some() => {
                let dims = self.sources.snippet(d.ty);
                let (name, span) = (d.name.clone().unwrap_or_default(), d.ty);
                error
                    .other(span, "no element type means float")
                    .help(format!("declare the input as {name}: {expected}{dims}"))
            }
            _ => error.help(format!("convert it: cast({}, {expected})", self.quote(place.span))),
        };
        Err(Box::new(error))
    }

    fn match_dims<'t>(
        &mut self,
        declared: &'t [DimTy],
        found: TensorType,
        place: &Place<'t>,
        scope: &Rc<Scope>,
        goals: &mut Vec<Goal<'t>>,
    ) -> Result<()> {
        let group = declared.iter().position(|d| matches!(d, DimTy::Shape(_)));
        let fixed = declared.len() - group.is_some() as usize;
        let rank = found.rank();
        if rank < fixed || (group.is_none() && rank != fixed) {
            let ty = self.sources.snippet(place.ty.span);
            let message = format!("{} must be {ty}, got {}: rank {rank}", place.what, self.type_text(&found));
            let error = self.where_declared(Diagnostic::new(Code::SHAPE, place.span, message), place);
            return Err(Box::new(error));
        }
        let mut axis = 0;
        for dim in declared {
            match dim {
                DimTy::Hole(_) => axis += 1,
                DimTy::Expr(e) if self.chosen_by_data(e, &found.dims[axis], place, scope)? => axis += 1,
                DimTy::Expr(e) => {
                    goals.push(Goal {
                        declared: e,
                        actual: found.dims[axis].clone(),
                        place: *place,
                        found: found.clone(),
                    });
                    axis += 1;
                }
                DimTy::Shape(name) => {
                    let actual = &found.dims[axis..axis + rank - fixed];
                    axis += rank - fixed;
                    self.match_group(name, actual, place, &found, scope)?;
                }
            }
        }
        Ok(())
    }

    /// `n <= N` in a result: a size that data chooses gets a name, and must be shown to keep its bound.
    fn chosen_by_data(&mut self, e: &Expr, actual: &Dim, place: &Place, scope: &Rc<Scope>) -> Result<bool> {
        let ExprKind::Binary { op: BinaryOp::Le, left, right } = &e.kind else { return Ok(false) };
        let ExprKind::Name(name) = &left.kind else { return Ok(false) };
        if scope.get(name).is_none() {
            scope.set(name, Val::Num(actual.clone()));
        }
        let (known, most) = (self.dim(left, scope)?, self.dim(right, scope)?);
        let shown = self.graph.facts.eq(&known, actual) == Verdict::Proved;
        if !shown || self.graph.facts.le(actual, &most) != Verdict::Proved {
            let text = self.sources.snippet(e.span);
            let message = format!("cannot show `{text}` of {}: the size is {actual}", place.what);
            let error = Diagnostic::new(Code::UNKNOWN_EQUAL, place.span, message);
            let error = self.where_declared(error, place);
            return Err(Box::new(error.help(format!("state what bounds it: where {actual} <= {most}"))));
        }
        Ok(true)
    }

    fn match_group(
        &mut self,
        name: &Name,
        actual: &[Dim],
        place: &Place,
        found: &TensorType,
        scope: &Rc<Scope>,
    ) -> Result<()> {
        if name.text == "_" {
            return Ok(());
        }
        if scope.get(&name.text).is_none() {
            scope.set(&name.text, Val::list(actual.iter().cloned().map(Val::Num)));
            return Ok(());
        }
        let known = self.shape_named(name, scope)?;
        if known.len() != actual.len() {
            let ty = self.sources.snippet(place.ty.span);
            let shape = shape_text(&known);
            let message =
                format!("{} must be {ty}, got {}: `..{}` is {shape}", place.what, self.type_text(found), name.text);
            return self.fail(Code::SHAPE, place.span, message);
        }
        known.iter().zip(actual).try_for_each(|(d, a)| self.require_equal(&name.text, d, a, place, found))
    }

    /// Binds names and judges dims until nothing is left.
    pub(super) fn solve(&mut self, mut goals: Vec<Goal>, scope: &Rc<Scope>) -> Result<()> {
        while !goals.is_empty() {
            let before = goals.len();
            let mut rest = vec![];
            for goal in goals {
                match self.meaning(goal.declared, scope)? {
                    Meaning::Known(dim) => {
                        let text = self.sources.snippet(goal.declared.span);
                        self.require_equal(text, &dim, &goal.actual, &goal.place, &goal.found)?;
                    }
                    Meaning::Binds(name, dim) => match solve_for_unknown(&dim, &goal.actual) {
                        Some(value) => {
                            let whole = self.as_dim(&Val::Num(value.clone()), goal.declared.span);
                            if whole.is_err() {
                                let text = self.sources.snippet(goal.declared.span);
                                let message = format!(
                                    "{}: {text} = {} leaves no whole number for {name}",
                                    goal.place.what, goal.actual
                                );
                                return self.fail(Code::SHAPE, goal.place.span, message);
                            }
                            scope.set(&name, Val::Num(value));
                        }
                        None => rest.push(goal),
                    },
                    Meaning::Open => rest.push(goal),
                }
            }
            goals = rest;
            if goals.len() == before {
                let goal = &goals[0];
                let text = self.sources.snippet(goal.declared.span);
                let message =
                    format!("cannot tell the names in `{text}` from this call: {} is {}", goal.place.what, goal.actual);
                return Err(Box::new(
                    Diagnostic::new(Code::SHAPE, goal.place.span, message).help("pass them as configuration"),
                ));
            }
        }
        Ok(())
    }

    fn meaning(&mut self, declared: &Expr, scope: &Rc<Scope>) -> Result<Meaning> {
        let mut names = declared.names();
        names.retain(|n| n.starts_with(char::is_uppercase) && scope.get(n).is_none());
        names.sort();
        names.dedup();
        match names[..] {
            [] => Ok(Meaning::Known(self.dim(declared, scope)?)),
            [name] => {
                let inner = Scope::inside(scope);
                inner.set(name, Val::Num(Dim::var(UNKNOWN)));
                match self.expr(declared, &inner)? {
                    Val::Num(dim) => Ok(Meaning::Binds(name.to_string(), dim)),
                    other => self.fail(
                        Code::STATIC_TYPE,
                        declared.span,
                        format!("a size is an integer, not {}", other.kind()),
                    ),
                }
            }
            _ => Ok(Meaning::Open),
        }
    }

    fn require_equal(&self, text: &str, declared: &Dim, actual: &Dim, place: &Place, found: &TensorType) -> Result<()> {
        let ty = self.sources.snippet(place.ty.span);
        let is = if declared.to_string() == text { "expected ".into() } else { format!("{text} is ") };
        let error = match self.graph.facts.eq(declared, actual) {
            Verdict::Proved => return Ok(()),
            Verdict::Refuted => {
                let got = self.type_text(found);
                let message = format!("{} must be {ty}, got {got}: {is}{declared}, not {actual}", place.what);
                let error = Diagnostic::new(Code::SHAPE, place.span, message);
                match place.what {
                    What::Result(_) => error.help(format!("if {got} is meant, state it: -> {got}")),
                    _ => error,
                }
            }
            Verdict::Unknown => {
                let message = format!("cannot show that {declared} = {actual}, needed by {}: {ty}", place.what);
                let error =
                    self.with_sizes(Diagnostic::new(Code::UNKNOWN_EQUAL, place.span, message), &[declared, actual]);
                error.help(format!("state it, and it is checked on each call: where {declared} == {actual}"))
            }
        };
        Err(Box::new(self.where_declared(error, place)))
    }

    fn where_declared(&self, error: Diagnostic, place: &Place) -> Diagnostic {
        match place.ty.span == place.span {
            true => error,
            false => error.other(place.ty.span, "declared here"),
        }
    }

    /// Points at the sizes in these dims that the caller chooses.
    pub(super) fn with_sizes(&self, mut error: Diagnostic, dims: &[&Dim]) -> Diagnostic {
        let mut names: Vec<_> = dims.iter().flat_map(|d| d.vars()).collect();
        names.sort();
        names.dedup();
        for name in names {
            if let Some(span) = self.sizes.get(&*name) {
                error = error.other(*span, format!("{name} is chosen by the caller"));
            }
        }
        error
    }

    /// The result of a function or entry against its stated type: nothing new is bound, names of fields are taken over.
    pub(super) fn check_result(
        &mut self,
        value: Val,
        ty: &Ty,
        scope: &Rc<Scope>,
        callee: &str,
        span: Span,
    ) -> Result<Val> {
        let place = Place { what: What::Result(callee), ty, span };
        let value = match (&ty.kind, value) {
            (TyKind::Tuple(fields), Val::Tuple(items)) => Val::Tuple(Rc::new(self.in_order(&items, fields, &place)?)),
            // A single name needs no tuple around its value.
            (TyKind::Tuple(fields), value) if matches!(&fields[..], [(Some(_), _)]) => {
                Val::Tuple(Rc::new(vec![(None, value)]))
            }
            (_, value) => value,
        };
        let mut goals = vec![];
        self.match_value(&value, ty, &place, scope, &mut goals)?;
        for goal in &goals {
            if let Meaning::Binds(name, _) = self.meaning(goal.declared, scope)? {
                let message = format!("`{name}` is not known here; a result has the dims of the inputs, or `_`");
                return self.fail(Code::UNKNOWN_NAME, goal.declared.span, message);
            }
        }
        self.solve(goals, scope)?;
        Ok(match (&ty.kind, value) {
            (TyKind::Tuple(fields), Val::Tuple(items)) => {
                let named = fields.iter().zip(items.iter());
                Val::Tuple(Rc::new(named.map(|((n, _), (own, v))| (n.clone().or(own.clone()), v.clone())).collect()))
            }
            (_, value) => value,
        })
    }

    /// Fields of a tuple in the order in which a type names them. A tuple whose names are all others takes the type's, in
    /// order.
    fn in_order(
        &self,
        items: &[(Option<String>, Val)],
        fields: &[(Option<String>, Ty)],
        place: &Place,
    ) -> Result<Vec<(Option<String>, Val)>> {
        let own = |name: &str| items.iter().position(|(n, _)| n.as_deref() == Some(name));
        let places: Vec<Option<usize>> = fields.iter().map(|(n, _)| n.as_deref().and_then(own)).collect();
        let whole: Option<Vec<usize>> = places.iter().copied().collect();
        match whole {
            Some(places) if items.len() == fields.len() => Ok(places.into_iter().map(|i| items[i].clone()).collect()),
            _ if places.iter().enumerate().all(|(i, at)| at.is_none_or(|at| at == i)) => Ok(items.to_vec()),
            _ => {
                let text = |name: &Option<String>| name.as_ref().map_or("_".into(), |n| format!("`{n}`"));
                let got: Vec<String> = items.iter().map(|(n, _)| text(n)).collect();
                let expected: Vec<String> = fields.iter().map(|(n, _)| text(n)).collect();
                let (got, expected) = (got.join(", "), expected.join(", "));
                let message = format!("the result names {got}, where {expected} are declared");
                let error = Diagnostic::new(Code::UNNAMED_RESULTS, place.span, message);
                let error = self.where_declared(error, place);
                Err(Box::new(error.help("use the names that are declared")))
            }
        }
    }

    /// The `where` of a callee: what is decided must be true, the rest becomes a guard of the entry.
    pub(super) fn facts(&mut self, facts: &[ast::Fact], scope: &Rc<Scope>) -> Result<()> {
        for fact in facts {
            match fact {
                ast::Fact::Define { name, value } => {
                    let value = self.expr(value, scope)?;
                    scope.set(&name.text, value);
                }
                ast::Fact::Holds(e) => match self.condition_of(e, scope)? {
                    Val::Bool(true) => {}
                    Val::Bool(false) => return Err(Box::new(self.false_fact(e, scope)?)),
                    Val::Fact(fact) => {
                        let text = self.sources.snippet(e.span).to_string();
                        self.graph.guards.push(Guard { fact: (*fact).clone(), text, origin: self.origin(e.span) });
                        self.graph.facts.assume(&fact);
                    }
                    other => {
                        return self.fail(
                            Code::STATIC_TYPE,
                            e.span,
                            format!("a condition is true or false, not {}", other.kind()),
                        );
                    }
                },
            }
        }
        Ok(())
    }

    fn condition_of(&mut self, e: &Expr, scope: &Rc<Scope>) -> Result<Val> {
        match self.fact_of_inputs(e, scope)? {
            Some(value) => Ok(value),
            None => self.expr(e, scope),
        }
    }

    fn false_fact(&mut self, e: &Expr, scope: &Rc<Scope>) -> Result<Diagnostic> {
        let mut names = e.names();
        names.dedup();
        let mut values = vec![];
        for name in names {
            if let Some(Val::Num(d)) = scope.get(name)
                && d.to_string() != name
            {
                values.push(format!("{name} = {d}"));
            }
        }
        let mut help = None;
        if let ExprKind::Binary { op: BinaryOp::Eq, left, .. } = &e.kind
            && let ExprKind::Binary { op: BinaryOp::Rem, left: of, right: by } = &left.kind
            && let (Some(of), Some(by)) = (self.expr(of, scope)?.as_int(), self.expr(by, scope)?.as_int())
        {
            values.push(format!("remainder {}", of.rem_euclid(by)));
            help = Some(format!("{of} is divisible by {}", divisors(of)));
        }
        let values = if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
        let message = format!("`where {}` does not hold{values}", self.sources.snippet(e.span));
        let error = Diagnostic::new(Code::FACT, e.span, message);
        Ok(error.help(help.unwrap_or_else(|| "choose sizes that meet it, or state another condition".into())))
    }

    /// A type in the language's own spelling.
    pub(super) fn type_text(&self, ty: &TensorType) -> String {
        let elem = if ty.elem == self.float() { "float" } else { ty.elem.name() };
        format!("{elem}{}", shape_text(&ty.dims))
    }

    /// Source text short enough for a message.
    pub(super) fn quote(&self, span: Span) -> String {
        let line = self.sources.snippet(span).lines().next().unwrap_or_default();
        match line.char_indices().nth(40) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line.to_string(),
        }
    }
}

/// `X` from `c * X + r = actual`, for a constant `c`.
fn solve_for_unknown(dim: &Dim, actual: &Dim) -> Option<Dim> {
    let mut factor = None;
    let mut rest = actual.clone();
    for (monomial, c) in dim.terms() {
        let term = monomial
            .iter()
            .fold(Dim::rational(c), |d, (atom, power)| (0..*power).fold(d, |d, _| d * Dim::atom(atom.clone())));
        match &monomial[..] {
            [(graph::dim::Atom::Var(name), 1)] if &**name == UNKNOWN => factor = Some(c),
            _ if term.vars().iter().any(|v| &**v == UNKNOWN) => return None,
            _ => rest = rest - term,
        }
    }
    Some(rest.scaled(factor?.recip()))
}

pub(super) fn divisors(n: i64) -> String {
    let small: Vec<String> = (1..=n.min(32)).filter(|d| n % d == 0).map(|d| d.to_string()).collect();
    let more = if n > 32 { " …" } else { "" };
    format!("{}{more}", small.join(", "))
}

pub(crate) fn shape_text(dims: &[Dim]) -> String {
    let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

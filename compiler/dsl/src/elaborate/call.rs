//! Calls: arguments to parameters, functions, layers, and what the compiler provides.

use super::instance::Frame;
use super::report::{Use, UseOf};
use super::shape::{Place, What};
use super::{Elaborator, Result, Scope, Val, list_of, nearest};
use crate::ast::{Arg, Extern, ExternKind, Form, Function, Member, Module, Name, Param, StmtKind};
use diag::{Code, Diagnostic, Span};
use graph::ops::{Attr, AttrInfo, OpInfo};
use graph::{Array, Dim, Elem};
use std::rc::Rc;
use std::sync::Arc;

/// An argument of a call.
#[derive(Clone)]
pub(crate) struct Given {
    pub name: Option<Name>,
    pub value: Val,
    pub span: Span,
}

/// Defaults of attributes that the graph's text form always states.
const ATTRIBUTE_DEFAULTS: &[(&str, &str, i64)] = &[("argmax", "axis", -1), ("sort", "axis", -1), ("top_k", "axis", -1)];

/// Calls inside each other, at most.
const CALLS: usize = 200;

/// Operators with several results, and the names of these.
const RESULTS: &[(&str, &[&str])] = &[("sort", &["values", "indices"]), ("top_k", &["values", "indices"])];

/// Operators that give integers for integers, so that exact numbers stay exact.
const EXACT: &[&str] = &["neg", "abs", "floor", "ceil", "round", "maximum", "minimum"];

impl Elaborator<'_> {
    pub(super) fn given(&mut self, args: &[Arg], scope: &Rc<Scope>) -> Result<Vec<Given>> {
        let given =
            |a: &Arg| Ok(Given { name: a.name.clone(), value: self.expr(&a.value, scope)?, span: a.value.span });
        args.iter().map(given).collect()
    }

    pub(super) fn call(&mut self, callee: Val, args: Vec<Given>, span: Span) -> Result<Val> {
        match callee {
            Val::Fn(f, outer) => {
                let of = UseOf::Function(f.name.text.clone());
                self.inside(&f.name.text, of, span, |e| e.run_function(&f, args, &Scope::inside(&outer), span))
            }
            Val::Lambda(lambda, outer) => {
                let (params, body) = &*lambda;
                let names: Vec<&str> = params.iter().map(|p| p.text.as_str()).collect();
                let scope = Scope::inside(&outer);
                for (param, given) in params.iter().zip(self.arrange(&names, args, "this function")?) {
                    let Some(given) = given else {
                        return self.fail(
                            Code::MISSING_ARGUMENT,
                            span,
                            format!("this function needs `{}`", param.text),
                        );
                    };
                    scope.set(&param.text, given.value);
                }
                self.inside("function", UseOf::Lambda, span, |e| e.block(body, &scope))
            }
            Val::Layer(module) => self.build(&module, args, span),
            Val::Instance(instance) => self.apply(instance, args, span),
            Val::Kernel(kernel) => {
                let of = UseOf::Function(kernel.name.text.clone());
                self.inside(&kernel.name.text, of, span, |e| e.kernel(&kernel, args, span))
            }
            Val::Extern(e) => self.call_extern(&e, args, span),
            Val::Given(ty, scope, provided) => self.call_given(&ty, &scope, &provided, args, span),
            Val::Method(instance, f, outer) => {
                let of = UseOf::Function(f.name.text.clone());
                self.frames.push(Frame::new(instance));
                let result =
                    self.inside(&f.name.text, of, span, |e| e.run_function(&f, args, &Scope::inside(&outer), span));
                self.frames.pop();
                result
            }
            Val::Builtin(name) => self.builtin(name, args, span),
            Val::Primitive(info) => self.primitive(info, args, span),
            other => {
                let error = Diagnostic::new(Code::NOT_CALLABLE, span, format!("{} cannot be called", other.kind()));
                Err(Box::new(match other {
                    Val::Elem(e) => error.help(format!("to convert a tensor write cast(x, {e})")),
                    Val::Tensor(_) | Val::List(_) => error.help("to read items write x[i]"),
                    _ => error,
                }))
            }
        }
    }

    /// Runs `f` as the body of a call; mistakes found there lead back to it.
    pub(super) fn inside<T>(
        &mut self,
        name: &str,
        of: UseOf,
        span: Span,
        f: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if self.uses.len() == CALLS {
            let error = Diagnostic::new(Code::RECURSION, span, format!("calls are nested more than {CALLS} deep"));
            return Err(Box::new(
                error.help("a function may not call itself; repeat with `for`, or over a tensor with `scan`"),
            ));
        }
        let outer = self.calls.clone();
        self.calls = Some(Arc::new(graph::Call { span, name: name.to_string(), outer: outer.clone() }));
        self.uses.push(Use { span, of });
        let result = f(self);
        self.calls = outer;
        let use_ = self.uses.pop();
        result.map_err(|mut e| {
            use_.iter().for_each(|u| self.add_use(&mut e, u));
            e
        })
    }

    /// What code from elsewhere gives, by its signature.
    fn call_extern(&mut self, e: &Extern, args: Vec<Given>, span: Span) -> Result<Val> {
        let scope = self.home(e.name.span);
        let scope = Scope::inside(&scope);
        self.bind_params(&e.params, args, &scope, &e.name.text, span)?;
        self.facts(&e.facts, &scope)?;
        match e.kind {
            ExternKind::Kernel => self.external(e, &scope, span),
            _ if self.in_training => self.extern_result(e, &scope, span),
            _ => {
                let name = &e.name.text;
                let message = format!("`{name}` is provided by the training runtime; it stands in `train` blocks only");
                self.fail(Code::NOT_YET, span, message)
            }
        }
    }

    pub(super) fn run_function(
        &mut self,
        f: &Function,
        args: Vec<Given>,
        scope: &Rc<Scope>,
        span: Span,
    ) -> Result<Val> {
        self.bind_params(&f.params, args, scope, &f.name.text, span)?;
        self.facts(&f.facts, scope)?;
        let value = self.block(&f.body, scope)?;
        match &f.result {
            None => Ok(value),
            Some(ty) => self.check_result(value, ty, scope, &f.name.text, f.body.value_span()),
        }
    }

    /// Names every parameter in `scope`: from the arguments, else from its default; binds the dims of their types.
    pub(super) fn bind_params(
        &mut self,
        params: &[Param],
        args: Vec<Given>,
        scope: &Rc<Scope>,
        callee: &str,
        span: Span,
    ) -> Result<()> {
        let names: Vec<&str> = params.iter().map(|p| p.name.text.as_str()).collect();
        let mut given = self.arrange(&names, args, callee)?;
        for (param, given) in params.iter().zip(&given) {
            if let Some(given) = given {
                scope.set(&param.name.text, given.value.clone());
            }
        }
        let mut goals = vec![];
        for (param, given) in params.iter().zip(&mut given) {
            if let (Some(ty), Some(given)) = (&param.ty, given) {
                let place = Place { what: What::Param { name: &param.name.text, callee }, ty, span: given.span };
                self.match_value(&given.value, ty, &place, scope, &mut goals)?;
            }
        }
        self.solve(goals, scope)?;
        for (param, given) in params.iter().zip(given) {
            if given.is_some() {
                continue;
            }
            let Some(default) = &param.default else {
                let message = format!("`{callee}` needs `{}`", param.name.text);
                let signature = names.join(", ");
                let error = Diagnostic::new(Code::MISSING_ARGUMENT, span, message);
                return Err(Box::new(error.label(format!("expected {callee}({signature})"))));
            };
            let value = self.expr(default, scope)?;
            if let (Some(ty), false) = (&param.ty, matches!(value, Val::None)) {
                let place = Place { what: What::Param { name: &param.name.text, callee }, ty, span: default.span };
                self.match_type(&value, ty, &place, scope)?;
            }
            scope.set(&param.name.text, value);
        }
        Ok(())
    }

    /// Arguments in the order of the parameters.
    fn arrange(&self, names: &[&str], args: Vec<Given>, callee: &str) -> Result<Vec<Option<Given>>> {
        let mut slots: Vec<Option<Given>> = vec![None; names.len()];
        let count = args.len();
        for (i, arg) in args.into_iter().enumerate() {
            let at = match &arg.name {
                None if i < names.len() => i,
                None => {
                    let message = format!("{callee} takes {}, got {count}", counted(names.len(), "argument"));
                    let help = format!("it is called as {callee}({})", names.join(", "));
                    return self.advise(Code::NO_OPTION, arg.span, message, help);
                }
                Some(name) => match names.iter().position(|n| *n == name.text) {
                    Some(at) => at,
                    None => {
                        let hint = match nearest(&name.text, names.iter().copied()) {
                            Some(near) => format!("; did you mean `{near}`?"),
                            None if names.is_empty() => "; it takes none".into(),
                            None => format!(
                                "; there is {}",
                                list_of(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>())
                            ),
                        };
                        return self.fail(
                            Code::NO_OPTION,
                            name.span,
                            format!("{callee} has no option `{}`{hint}", name.text),
                        );
                    }
                },
            };
            if slots[at].is_some() {
                return self.fail(Code::NO_OPTION, arg.span, format!("`{}` of {callee} is given twice", names[at]));
            }
            slots[at] = Some(arg);
        }
        Ok(slots)
    }

    /// A layer stands where a built layer is needed.
    pub(super) fn not_built(&self, module: &Module, span: Span) -> Diagnostic {
        let name = &module.name.text;
        let config = module.config.iter().flatten().map(|p| {
            let ty = p.ty.as_ref().map_or(String::new(), |t| format!(": {}", self.sources.snippet(t.span)));
            let default = p.default.as_ref().map_or(String::new(), |d| format!(" = {}", self.sources.snippet(d.span)));
            format!("{}{ty}{default}", p.name.text)
        });
        let config: Vec<String> = config.collect();
        Diagnostic::new(Code::LAYER_NOT_BUILT, span, format!("`{name}` is a layer; say how it is built"))
            .label(format!("expected {name}({})", config.join(", ")))
            .help(format!("build it where it is used: x |> {name}({})", self.required(module)))
    }

    /// The configuration that a layer cannot do without, by example.
    fn required(&self, module: &Module) -> String {
        let params = module.config.iter().flatten().filter(|p| p.default.is_none());
        let example = |p: &Param| match p.ty.as_ref().map(|t| self.sources.snippet(t.span)) {
            Some("int") => "8".to_string(),
            Some("float") => "0.5".to_string(),
            _ => format!("{} = …", p.name.text),
        };
        params.map(example).collect::<Vec<_>>().join(", ")
    }

    /// `wte.weight`: a stored tensor read from outside its layer.
    pub(super) fn stored_field(
        &mut self,
        instance: &Rc<super::instance::Instance>,
        name: &str,
        span: Span,
    ) -> Result<Val> {
        if let Form::Members { members, .. } = &instance.module.form {
            let function = members.iter().find_map(|m| match m {
                Member::Fn(f) | Member::Entry(f) if f.name.text == name => Some(f),
                _ => None,
            });
            let scope = self.members(instance)?;
            if let Some(function) = function {
                return Ok(Val::Method(instance.clone(), Rc::new(function.clone()), scope));
            }
            if let Some(member) = scope.get(name) {
                return Ok(member);
            }
        }
        let full = super::instance::join(&instance.path(), name);
        if !self.index.contains_key(&full)
            && let Form::Function(f) = &instance.module.form
        {
            let declared = f.body.stmts.iter().find_map(|s| match &s.kind {
                StmtKind::Storage(s)
                    if s.name.text == name || s.outer.as_ref().is_some_and(|o| o.plain() == Some(name)) =>
                {
                    Some(s)
                }
                _ => None,
            });
            if let Some(storage) = declared {
                self.frames.push(super::instance::Frame::new(instance.clone()));
                let scope = Scope::inside(&instance.config);
                let result = self.attempt(|e| e.storage(storage, &scope));
                self.frames.pop();
                result.map_err(|e| {
                    Box::new(Diagnostic::new(
                        e.code,
                        span,
                        format!("the dims of `{name}` are not known before {} is used", instance.path()),
                    ))
                })?;
            }
        }
        match self.index.contains_key(&full) {
            true => Ok(Val::Tensor(self.read(&full))),
            false => {
                let message = format!("{} stores no `{name}`", instance.module.name.text);
                let prefix = format!("{}.", instance.path());
                let own = self.stored.iter().filter_map(|s| s.name.strip_prefix(&prefix)).filter(|n| !n.contains('.'));
                let own: Vec<String> = own.map(|n| format!("`{n}`")).collect();
                match own.is_empty() {
                    true => self.fail(Code::UNKNOWN_NAME, span, message),
                    false => self.advise(Code::UNKNOWN_NAME, span, message, format!("it stores {}", own.join(", "))),
                }
            }
        }
    }

    fn builtin(&mut self, name: &'static str, mut args: Vec<Given>, span: Span) -> Result<Val> {
        match name {
            "rearrange" => return self.rearrange(args, span),
            "einsum" => return self.einsum(args, span),
            _ => {}
        }
        let expected = if name == "size" { 2 } else { 1 };
        if args.len() != expected {
            return self.fail(
                Code::NO_OPTION,
                span,
                format!("`{name}` takes {}, got {}", counted(expected, "argument"), args.len()),
            );
        }
        let first = args.remove(0);
        let dims = |e: &Self| match &first.value {
            Val::Tensor(t) => Ok(e.graph.ty(*t).dims.clone()),
            v if v.is_number() => Ok(vec![]),
            other => e.fail(Code::STATIC_TYPE, first.span, format!("`{name}` takes a tensor, not {}", other.kind())),
        };
        Ok(match name {
            "random_bits" => {
                let shape = self.sizes_in(&first.value, first.span)?;
                Val::Tensor(self.random_bits(shape, span)?)
            }
            "shape" => Val::list(dims(self)?.into_iter().map(Val::Num)),
            "rank" => Val::int(dims(self)?.len() as i64),
            "size" => {
                let dims = dims(self)?;
                let axis = self.axis(&args[0].value, dims.len(), args[0].span)?;
                Val::Num(dims[axis].clone())
            }
            "len" => match &first.value {
                Val::List(items) => Val::int(items.len() as i64),
                Val::Tuple(fields) => Val::int(fields.len() as i64),
                other => {
                    return self.fail(
                        Code::STATIC_TYPE,
                        first.span,
                        format!("`len` takes a list, not {}", other.kind()),
                    );
                }
            },
            "product" => {
                let Val::List(items) = &first.value else {
                    return self.fail(
                        Code::STATIC_TYPE,
                        first.span,
                        format!("`product` takes a list, not {}", first.value.kind()),
                    );
                };
                let mut product = Val::int(1);
                for item in items.iter() {
                    product =
                        self.binary(crate::ast::BinaryOp::Mul, (product, span), (item.clone(), first.span), span)?;
                }
                product
            }
            "is_fn" => Val::Bool(first.value.is_callable()),
            "is_known" => Val::Bool(!matches!(&first.value, Val::Num(n) if n.as_int().is_none())),
            "is_list" => Val::Bool(matches!(first.value, Val::List(_))),
            "is_tuple" => Val::Bool(matches!(first.value, Val::Tuple(_))),
            _ => match first.value {
                Val::Elem(e) => Val::Bool(e.is_float()),
                other => {
                    return self.fail(
                        Code::STATIC_TYPE,
                        first.span,
                        format!("`is_float` takes an element type, not {}", other.kind()),
                    );
                }
            },
        })
    }

    /// A list of sizes.
    fn sizes_in(&mut self, value: &Val, span: Span) -> Result<Vec<Dim>> {
        match value {
            Val::List(items) => items.iter().map(|v| self.as_dim(v, span)).collect(),
            Val::Tensor(t) => match self.known_integers(*t, None)? {
                Some(sizes) => sizes.into_iter().map(|d| self.as_dim(&Val::Num(d), span)).collect(),
                None => self.fail(Code::STATIC_TYPE, span, "sizes are known when compiling; these come from data"),
            },
            other => self.fail(Code::STATIC_TYPE, span, format!("expected a list of sizes, got {}", other.kind())),
        }
    }

    /// An axis as a position from 0; negative ones count from the end.
    pub(super) fn axis(&self, value: &Val, rank: usize, span: Span) -> Result<usize> {
        let Some(axis) = value.as_int() else {
            return self.fail(Code::STATIC_TYPE, span, format!("an axis is an integer, not {}", value.kind()));
        };
        let from_start = if axis < 0 { axis + rank as i64 } else { axis };
        match usize::try_from(from_start) {
            Ok(a) if a < rank => Ok(a),
            _ => {
                let message = format!("axis {axis} of a tensor of rank {rank}");
                let help = match rank {
                    0 => "it has no axes".into(),
                    _ => format!("axes go from 0 to {}, or from -{rank} to -1", rank - 1),
                };
                self.advise(Code::OUT_OF_RANGE, span, message, help)
            }
        }
    }

    /// An operator by its own name: operands, then attributes.
    fn primitive(&mut self, info: &'static OpInfo, args: Vec<Given>, span: Span) -> Result<Val> {
        // The language says `type` where Rust has a keyword.
        let outside = |name: &'static str| if name == "elem" { "type" } else { name };
        let attributes = info.attributes.iter().map(|a| outside(a.name));
        let names: Vec<&str> = info.operands.iter().copied().chain(attributes).collect();
        let mut slots = self.arrange(&names, args, info.name)?.into_iter();
        let mut operands = vec![];
        for name in info.operands {
            match slots.next().flatten() {
                Some(given) => operands.push((given.value, given.span)),
                None => return self.fail(Code::MISSING_ARGUMENT, span, format!("`{}` needs `{name}`", info.name)),
            }
        }
        let attributes: Vec<Option<Given>> = slots.collect();
        if info.attributes.is_empty() && !info.operands.is_empty() {
            return match self.static_operator(info, &operands) {
                Some(value) => Ok(value),
                None => self.elementwise(info.name, operands, span),
            };
        }
        if info.name == "cast"
            && let ((value, _), Some(Given { value: Val::Elem(to), .. })) = (&operands[0], &attributes[0])
            && let Some(value) = cast_number(value, *to)
        {
            return Ok(value);
        }
        // A cast to the type that a tensor has already is nothing.
        if info.name == "cast"
            && let (Val::Tensor(t), Some(Given { value: Val::Elem(to), .. })) = (&operands[0].0, &attributes[0])
            && self.ty(*t).elem == *to
        {
            return Ok(Val::Tensor(*t));
        }
        let mut values = vec![];
        for (value, span) in &operands {
            match value {
                Val::List(items) => {
                    let elem = self.common_elem(&items.iter().map(|v| (v.clone(), *span)).collect::<Vec<_>>());
                    for item in items.iter() {
                        values.push(self.tensor(item, Some(elem), *span)?);
                    }
                }
                value => values.push(self.tensor(value, None, *span)?),
            }
        }
        let rank = values.first().map_or(0, |v| self.graph.ty(*v).rank());
        let mut pairs = vec![];
        for (attribute, given) in info.attributes.iter().zip(attributes) {
            let given = given.filter(|g| !matches!(g.value, Val::None));
            if let Some(attr) = self.attribute(info, attribute, given, rank)? {
                pairs.push((attribute.name.to_string(), attr));
            }
        }
        match graph::ops::build(info.name, &pairs) {
            Some(Ok(op)) => {
                let first = self.push(op, &values, span)?;
                let results = self.graph.results(first).into_iter().map(Val::Tensor);
                Ok(match RESULTS.iter().find(|(op, _)| *op == info.name) {
                    Some((_, names)) => {
                        Val::Tuple(Rc::new(names.iter().map(|n| Some(n.to_string())).zip(results).collect()))
                    }
                    None => Val::Tensor(first),
                })
            }
            Some(Err(graph::OpError::Attribute { name, expected })) => self.fail(
                Code::STATIC_TYPE,
                span,
                format!("`{}` of {} must be {expected}", outside_name(&name), info.name),
            ),
            Some(Err(e)) => self.fail(Code::STATIC_TYPE, span, format!("{}: {e}", info.name)),
            None => self.fail(Code::UNKNOWN_NAME, span, format!("no operator `{}`", info.name)),
        }
    }

    fn attribute(
        &mut self,
        info: &OpInfo,
        attribute: &AttrInfo,
        given: Option<Given>,
        rank: usize,
    ) -> Result<Option<Attr>> {
        let Some(given) = given else {
            let default = ATTRIBUTE_DEFAULTS.iter().find(|(op, name, _)| *op == info.name && *name == attribute.name);
            return Ok(match (default, attribute.kind) {
                (Some((_, _, n)), "an axis") => Some(Attr::Dim(Dim::int(n + rank as i64))),
                // Without axes a reduction takes all of them.
                (None, "a list of axes") if !attribute.optional => {
                    Some(Attr::List((0..rank as i64).map(|a| Attr::Dim(Dim::int(a))).collect()))
                }
                _ => None,
            });
        };
        // New axes of the result may be named from its end too.
        let axis = |v: &Val| self.axis(v, rank, given.span).map(|a| Attr::Dim(Dim::int(a as i64)));
        match (attribute.kind, &given.value) {
            ("an axis", v) => axis(v).map(Some),
            ("a list of axes", Val::List(items)) => {
                Ok(Some(Attr::List(items.iter().map(axis).collect::<Result<_>>()?)))
            }
            ("a size", v) => Ok(Some(Attr::Dim(self.as_dim(v, given.span)?))),
            ("a list of sizes", v @ (Val::List(_) | Val::Tensor(_))) => {
                Ok(Some(Attr::List(self.sizes_in(v, given.span)?.into_iter().map(Attr::Dim).collect())))
            }
            (_, v) => match attr(v) {
                Some(attr) => Ok(Some(attr)),
                None => {
                    let message = format!(
                        "`{}` of {} must be {}, not {}",
                        outside_name(attribute.name),
                        info.name,
                        attribute.kind,
                        v.kind()
                    );
                    self.fail(Code::STATIC_TYPE, given.span, message)
                }
            },
        }
    }

    /// An elementwise operator on static values, by its own reference semantics.
    fn static_operator(&self, info: &OpInfo, operands: &[(Val, Span)]) -> Option<Val> {
        if info.name == "where"
            && let [(Val::Bool(condition), _), (x, _), (y, _)] = operands
            && !x.is_tensor()
            && !y.is_tensor()
        {
            return Some(if *condition { x.clone() } else { y.clone() });
        }
        if let (true, [(Val::Num(a), _), (Val::Num(b), _)]) = (EXACT.contains(&info.name), operands) {
            let a_is_larger = a.as_rational().zip(b.as_rational()).map(|(a, b)| a >= b);
            return Some(Val::Num(match (info.name == "maximum", a_is_larger) {
                (largest, Some(a_is_larger)) => if largest == a_is_larger { a } else { b }.clone(),
                (true, None) => a.maximum(b),
                (false, None) => a.minimum(b),
            }));
        }
        let numbers: Vec<Array> =
            operands.iter().map(|(v, _)| Some(Array::scalar(Elem::F64, v.as_f64()?))).collect::<Option<_>>()?;
        let op = graph::ops::build(info.name, &[])?.ok()?;
        let result = op.eval(&numbers, &|_| None).ok()?.pop()?;
        let (elem, value) = (result.elem, *result.data.first()?);
        let exact = EXACT.contains(&info.name) && operands.iter().all(|(v, _)| matches!(v, Val::Num(_)));
        Some(match elem {
            Elem::Bool => Val::Bool(value != 0.0),
            _ if exact && value.fract() == 0.0 && value.abs() < 2f64.powi(53) => Val::int(value as i64),
            _ => Val::Float(value),
        })
    }
}

fn outside_name(name: &str) -> &str {
    if name == "elem" { "type" } else { name }
}

fn cast_number(value: &Val, to: Elem) -> Option<Val> {
    match value {
        Val::Num(d) if to.is_float() || d.is_integral() => Some(Val::Num(d.clone())),
        Val::Float(_) | Val::Scalar(_) if to.is_float() => Some(value.clone()),
        Val::Float(_) | Val::Num(_) if to.is_int() => {
            let whole = value.as_f64()?.trunc();
            (whole.abs() < 2f64.powi(53)).then(|| Val::int(whole as i64))
        }
        _ => None,
    }
}

fn attr(value: &Val) -> Option<Attr> {
    Some(match value {
        Val::Num(d) => Attr::Dim(d.clone()),
        Val::Float(x) => Attr::Float(*x),
        Val::Bool(b) => Attr::Bool(*b),
        Val::Str(s) => Attr::Str(s.to_string()),
        Val::Elem(e) => Attr::Elem(*e),
        Val::List(items) => Attr::List(items.iter().map(attr).collect::<Option<_>>()?),
        Val::Tuple(fields) => Attr::List(fields.iter().map(|(_, v)| attr(v)).collect::<Option<_>>()?),
        _ => return None,
    })
}

pub(crate) fn counted(n: usize, what: &str) -> String {
    let number = match n {
        0 => "no".to_string(),
        n => ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
            .get(n - 1)
            .map_or_else(|| n.to_string(), |w| w.to_string()),
    };
    format!("{number} {what}{}", if n == 1 { "" } else { "s" })
}

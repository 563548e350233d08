//! Layers that are built: configuration, path, storage.

use super::call::{Given, counted};
use super::report::UseOf;
use super::{Declared, Elaborator, Result, Scope, Stored, Val};
use crate::ast::{self, Expr, Form, Member, Module, StorageKind};
use diag::{Code, Diagnostic, Span};
use graph::{Storage, TensorType};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A built layer. Two of them are one if their parent and path segments are the same.
pub(crate) struct Instance {
    pub module: Rc<Module>,
    /// Holds the configuration.
    pub config: Rc<Scope>,
    /// The full path, once there is one.
    pub place: RefCell<Option<String>>,
    /// Where it was built.
    pub built: Span,
    /// The call that fixed the shapes of its weights, and the argument it fixed them from.
    pub first_use: RefCell<Option<(Span, Span)>>,
    pub children: RefCell<HashMap<String, Rc<Instance>>>,
}

impl Instance {
    pub fn path(&self) -> String {
        self.place.borrow().clone().unwrap_or_default()
    }
}

/// A stored tensor of a `train` block, and where its first value is computed.
pub(crate) struct First {
    pub name: String,
    pub storage: ast::Storage,
    pub ty: TensorType,
    pub scope: Rc<Scope>,
}

/// One run of a body: who it belongs to, and the labels it has used.
pub(crate) struct Frame {
    pub instance: Rc<Instance>,
    /// The first argument of the call.
    pub argument: Span,
    pub unnamed: HashMap<String, usize>,
    pub labels: HashSet<String>,
    /// Loops around the current statement: the variable and the number of rounds.
    pub loops: Vec<(ast::Name, usize)>,
}

impl Frame {
    pub fn new(instance: Rc<Instance>) -> Frame {
        let argument = instance.built;
        Frame { instance, argument, unnamed: HashMap::new(), labels: HashSet::new(), loops: vec![] }
    }
}

impl Elaborator<'_> {
    pub(super) fn build(&mut self, module: &Rc<Module>, args: Vec<Given>, span: Span) -> Result<Val> {
        let config = Scope::inside(&self.home(module.name.span));
        let params = module.config.clone().unwrap_or_default();
        if let Some(given) = args.iter().find(|g| g.value.is_running()) {
            let message =
                format!("{} is configured before anything runs, but this is {}", module.name.text, given.value.kind());
            let error = Diagnostic::new(Code::STATIC_TYPE, given.span, message);
            return Err(Box::new(error.help("tensors go into the second list: Layer(configuration)(tensors)")));
        }
        self.bind_params(&params, args, &config, &module.name.text, span)?;
        if let Form::Members { facts, .. } = &module.form {
            self.facts(facts, &config)?;
        }
        Ok(Val::Instance(Rc::new(Instance {
            module: module.clone(),
            config,
            place: RefCell::new(None),
            built: span,
            first_use: RefCell::new(None),
            children: RefCell::default(),
        })))
    }

    /// Gives an unnamed instance its place below the current one; the instance that has it already, if there is one.
    pub(super) fn settle(&mut self, instance: Rc<Instance>, segment: &str) -> Rc<Instance> {
        if instance.place.borrow().is_some() {
            return instance;
        }
        let parent = match self.frames.last() {
            Some(frame) => frame.instance.clone(),
            None => return instance,
        };
        let path = join(&parent.path(), segment);
        let mut children = parent.children.borrow_mut();
        let child = children.entry(segment.to_string()).or_insert_with(|| {
            instance.place.replace(Some(path));
            instance.clone()
        });
        child.clone()
    }

    /// A label names one layer in each run of a body.
    pub(super) fn claim_label(&mut self, segments: &str, label: &Expr, call: Span) -> Result<()> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        if frame.labels.insert(segments.to_string()) {
            return Ok(());
        }
        let last = frame.loops.last().cloned();
        let (quoted, call) = (self.quote(label.span), self.quote(call));
        let Some((variable, rounds)) = last else {
            let message = format!("label `{quoted}` names two different layers");
            let error = Diagnostic::new(Code::LABEL_REUSED, label.span, message);
            return Err(Box::new(
                error.help("to use one layer twice, build it first and give it a name: fc = Linear(64)"),
            ));
        };
        let i = &variable.text;
        let message = format!("label `{quoted}` names {}", counted(rounds, "different layer"));
        let error = Diagnostic::new(Code::LABEL_REUSED, label.span, message)
            .label(format!("does not mention `{i}`"))
            .other(variable.span, "the loop variable")
            .help(format!("for {} write {quoted}[{i}]: {call}", counted(rounds, "layer")))
            .help(format!(
                "for one layer used {rounds} times, build it before the loop: {quoted} = {call}, then x |> {quoted}"
            ));
        Err(Box::new(error))
    }

    /// Names what a binding holds: an instance, or the instances of a list.
    pub(super) fn settle_value(&mut self, value: Val, name: &str) -> Val {
        match value {
            Val::Instance(i) => Val::Instance(self.settle(i, name)),
            Val::List(items) if items.iter().any(|v| matches!(v, Val::Instance(_))) => {
                let named = items.iter().enumerate().map(|(i, v)| self.settle_value(v.clone(), &format!("{name}.{i}")));
                Val::list(named.collect::<Vec<_>>())
            }
            other => other,
        }
    }

    /// `linear_0`, `linear_1` … for those without a label.
    pub(super) fn settle_unnamed(&mut self, instance: Rc<Instance>) -> Rc<Instance> {
        if instance.place.borrow().is_some() {
            return instance;
        }
        let name = snake_case(&instance.module.name.text);
        let segment = match self.frames.last_mut() {
            Some(frame) => {
                let count = frame.unnamed.entry(name.clone()).or_default();
                *count += 1;
                format!("{name}_{}", *count - 1)
            }
            None => name,
        };
        self.settle(instance, &segment)
    }

    /// The scope in which entries and functions of a member-form model see its members.
    pub(super) fn members(&mut self, instance: &Rc<Instance>) -> Result<Rc<Scope>> {
        let scope = Scope::inside(&instance.config);
        let module = instance.module.clone();
        let Form::Members { members, .. } = &module.form else { return Ok(scope) };
        self.frames.push(Frame::new(instance.clone()));
        let result = members.iter().try_for_each(|member| match member {
            Member::Storage(s) => self.storage(s, &scope),
            Member::Fn(f) => {
                scope.set(&f.name.text, Val::Fn(Rc::new(f.clone()), scope.clone()));
                Ok(())
            }
            Member::Entry(f) => {
                scope.set(&f.name.text, Val::Fn(Rc::new(f.clone()), scope.clone()));
                Ok(())
            }
            Member::Bind(b) => self.bind(b, &scope),
        });
        self.frames.pop();
        result.map(|()| scope)
    }

    pub(super) fn apply(&mut self, instance: Rc<Instance>, args: Vec<Given>, span: Span) -> Result<Val> {
        let instance = self.settle_unnamed(instance);
        let module = instance.module.clone();
        let name = &module.name.text;
        let Form::Function(function) = &module.form else {
            let message = format!("`{name}` has entries; it is a model to compile, not a layer to call");
            let help = format!("build it as a member, `m = {name}()`, and call one of its entries, `m.forward(…)`");
            return self.advise(Code::NOT_CALLABLE, span, message, help);
        };
        let scope = Scope::inside(&instance.config);
        let argument = args.first().map_or(span, |a| a.span);
        let of = UseOf::Layer(instance.clone());
        let result = self.inside(name, of, span, |e| {
            e.frames.push(Frame { argument, ..Frame::new(instance.clone()) });
            let result = e.run_function(function, args, &scope, span);
            e.frames.pop();
            result
        });
        instance.first_use.borrow_mut().get_or_insert((span, argument));
        result
    }

    /// `in Blk(out = 128), used as b`
    pub(super) fn use_note(&self, instance: &Instance) -> String {
        let numbers =
            instance.module.config.iter().flatten().filter_map(|p| match instance.config.get(&p.name.text)? {
                Val::Num(d) => Some(format!("{} = {d}", p.name.text)),
                _ => None,
            });
        let numbers: Vec<String> = numbers.collect();
        let config = if numbers.is_empty() { String::new() } else { format!("({})", numbers.join(", ")) };
        format!("in {}{config}, used as `{}`", instance.module.name.text, instance.path())
    }

    /// Declares storage in the current instance and names it in `scope`.
    pub(super) fn storage(&mut self, s: &ast::Storage, scope: &Rc<Scope>) -> Result<()> {
        let Some(instance) = self.frames.last().map(|f| f.instance.clone()) else {
            return self.fail(Code::STATIC_TYPE, s.name.span, "storage belongs to layers and models");
        };
        let own = match &s.outer {
            None => s.name.text.clone(),
            Some(outer) => match self.expr(outer, scope)? {
                Val::Str(text) => text.to_string(),
                other => {
                    return self.fail(
                        Code::STATIC_TYPE,
                        outer.span,
                        format!("a name is a string, not {}", other.kind()),
                    );
                }
            },
        };
        let full = join(&instance.path(), &own);
        let ast::TyKind::Tensor { elem, dims } = &s.ty.kind else {
            return self.fail(Code::STATIC_TYPE, s.ty.span, "storage holds a tensor: name: [dims]");
        };
        let elem = self.element(elem.as_ref(), scope)?;
        let out = self.stated_dims(dims, scope, "storage needs each of its dims")?;
        if s.kind != StorageKind::Cache
            && let Some(dim) = out.iter().find(|d| d.as_int().is_none())
        {
            let message = format!(
                "`{}` is saved in files, so its size must be known; {dim} is chosen by the caller",
                s.name.text
            );
            let error = self.with_sizes(Diagnostic::new(Code::SHAPE, s.ty.span, message), &[dim]);
            return Err(Box::new(
                error.help("fix the size with -D or in the signature; a `cache` may depend on the caller's sizes"),
            ));
        }
        let ty = TensorType::new(elem, out);
        self.countable(&ty, s.ty.span)?;
        let storage = match s.kind {
            StorageKind::Param => Storage::Param,
            StorageKind::State => Storage::State,
            StorageKind::Cache => Storage::Cache,
        };
        match self.index.get(&full).map(|i| &self.stored[*i]) {
            Some(first) if first.span != s.name.span => {
                let message = format!("two stored tensors are called `{full}`");
                let error = Diagnostic::new(Code::DEFINED_TWICE, s.name.span, message);
                let error = error.other(first.span, "first here");
                return Err(Box::new(error.help("give one another name, in files too: param b as bias: [C]")));
            }
            Some(first) if first.ty != ty => return Err(Box::new(self.two_widths(&instance, s, &own, &first.ty, &ty))),
            Some(_) => {}
            None => {
                self.initialiser(&full, s, &ty, scope)?;
                self.index.insert(full.clone(), self.stored.len());
                self.stored_types.insert(full.clone(), Declared::new(&s.name.text, &s.ty));
                self.stored.push(Stored { name: full.clone(), storage, ty, span: s.name.span });
            }
        }
        scope.set(&s.name.text, Val::Stored(full.into()));
        Ok(())
    }

    /// Checks what storage starts as, once for each type that a declaration has: a number, or a call that is given
    /// `shape` and `type` if it takes them.
    fn initialiser(&mut self, name: &str, s: &ast::Storage, ty: &TensorType, scope: &Rc<Scope>) -> Result<()> {
        let Some(init) = &s.init else {
            return match s.kind {
                StorageKind::Cache => Ok(()),
                _ => {
                    let message = format!("`{}` has no first value", s.name.text);
                    let error = Diagnostic::new(Code::MISSING_ARGUMENT, s.name.span, message);
                    Err(Box::new(error.help("say how it starts: = zeros(), or = kaiming_uniform()")))
                }
            };
        };
        if self.in_training {
            self.firsts.push(First { name: name.into(), storage: s.clone(), ty: ty.clone(), scope: scope.clone() });
        }
        if !self.initialised.insert((s.name.span, ty.to_string())) {
            return Ok(());
        }
        let running = init.names().into_iter().find(|n| scope.get(n).is_some_and(|v| v.is_running()));
        if let Some(name) = running {
            let message =
                format!("`{}` starts before anything runs, but `{name}` is known when running only", s.name.text);
            let error = Diagnostic::new(Code::STATIC_TYPE, init.span, message);
            return Err(Box::new(
                error.help("a first value is made of numbers and configuration: zeros(), 0.1, normal()"),
            ));
        }
        self.aside(|e| e.first_value(init, s, ty, scope).map(|_| ()))
    }

    /// What storage starts as: a tensor of its type, or one number for all places.
    pub(super) fn first_value(
        &mut self,
        init: &ast::Expr,
        s: &ast::Storage,
        ty: &TensorType,
        scope: &Rc<Scope>,
    ) -> Result<graph::Value> {
        let value = match &init.kind {
            ast::ExprKind::Call { callee, args } => {
                let callee = self.expr(callee, scope)?;
                let mut given = self.given(args, scope)?;
                if let Val::Fn(f, _) = &callee {
                    let shape = Val::list(ty.dims.iter().cloned().map(Val::Num));
                    for (name, value) in [("shape", shape), ("type", Val::Elem(ty.elem))] {
                        let at = f.params.iter().position(|p| p.name.text == name);
                        let stated = given.iter().enumerate().any(|(i, g)| match &g.name {
                            Some(n) => n.text == name,
                            None => at == Some(i),
                        });
                        if at.is_some() && !stated {
                            let name = Some(ast::Name { text: name.into(), span: init.span });
                            given.push(Given { name, value, span: s.ty.span });
                        }
                    }
                }
                self.call(callee, given, init.span)?
            }
            _ => self.expr(init, scope)?,
        };
        let value = self.tensor(&value, Some(ty.elem), init.span)?;
        let found = self.ty(value);
        if found.dims.is_empty() || found.dims == ty.dims {
            return Ok(value);
        }
        let (name, found, expected) = (&s.name.text, self.type_text(&found), self.type_text(ty));
        let message = format!("`{name}` is {expected}, but starts as {found}");
        let error = Diagnostic::new(Code::SHAPE, init.span, message).other(s.ty.span, "declared here");
        Err(Box::new(error.help("an initialiser is given the shape: = ones()")))
    }

    /// Runs `f` on a graph of its own, of which nothing stays.
    pub(super) fn aside<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let graph = std::mem::replace(&mut self.graph, graph::Graph::new("aside"));
        let versions = std::mem::take(&mut self.versions);
        let (declared, run_time) = (std::mem::take(&mut self.declared), std::mem::take(&mut self.run_time));
        let (streams, stored) = (self.streams.clone(), self.stored.len());
        self.graph.facts = graph.facts.clone();
        let result = f(self);
        (self.graph, self.versions, self.declared, self.run_time) = (graph, versions, declared, run_time);
        self.streams = streams;
        for gone in self.stored.drain(stored..) {
            self.index.remove(&gone.name);
        }
        result
    }

    fn two_widths(
        &self,
        instance: &Instance,
        s: &ast::Storage,
        own: &str,
        first: &TensorType,
        now: &TensorType,
    ) -> Diagnostic {
        let layer = instance.path();
        let (before, after) = (super::shape::shape_text(&first.dims), super::shape::shape_text(&now.dims));
        let message = format!("`{layer}` is one layer; its {own} is {before} and cannot also be {after}");
        let span = self.calls.as_ref().map_or(s.name.span, |c| c.span);
        let mut error = Diagnostic::new(Code::SHARED_WIDTHS, span, message);
        let declared = Declared::new(own, &s.ty);
        let differs = first.dims.iter().zip(&now.dims).zip(&declared.dims).find(|((a, b), _)| a != b);
        if let Some(((a, b), dim)) = differs {
            let name = self.sources.snippet(*dim);
            let from = self.frames.last().map_or(String::new(), |f| format!(", from `{}`", self.quote(f.argument)));
            error = error.label(format!("now {name} = {b}{from}"));
            if let Some((call, argument)) = *instance.first_use.borrow() {
                error = error.other(call, format!("first use fixed {name} = {a}, from `{}`", self.quote(argument)));
            }
        }
        let build = self.quote(instance.built);
        error
            .other(instance.built, "built once here")
            .help(format!("for separate weights build two: {layer}_1 = {build}, {layer}_2 = {build}"))
    }
}

pub(super) fn join(path: &str, segment: &str) -> String {
    if path.is_empty() { segment.to_string() } else { format!("{path}.{segment}") }
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

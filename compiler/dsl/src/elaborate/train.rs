//! `train` blocks: data, steps and metrics. A step becomes one graph: loss, gradients, and the optimiser's new values.

use super::call::Given;
use super::instance::{Frame, Instance, join};
use super::items::{Found, LIBRARY};
use super::shape::{Place, What};
use super::{Elaborator, Result, Scope, Stored, Val, nearest};
use crate::ast::{self, Block, Extern, Form, Function, Module, Name, Step, TrainKind, Ty, TyKind};
use diag::{Code, Diagnostic, Span};
use graph::{Dim, Elem, Fact, Graph, Storage, TensorType, Value, ops};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Options of a step, after its optimiser, with their types.
const OPTIONS: &[(&str, &str)] = &[("clip_norm", "float"), ("accumulate", "int"), ("ema", "float"), ("repeats", "int")];

/// What a `train` block may set, as whole numbers.
const SETTINGS: &[&str] = &["epochs", "max_steps"];

/// The number of examples in a batch; its source bounds it.
const ROWS: &str = "Rows";

/// Inputs of steps that the training runtime gives: the number of updates so far, and whether the gradients since the last
/// one are applied now.
pub const STEP: &str = "step";
pub const LAST: &str = "last";

/// What training keeps beside parameters, each under one of these names: states of optimisers, gradients since the last
/// update, running means.
pub(super) const BESIDE: [&str; 3] = [OPTIMISER, ACCUMULATED, EMA];
const OPTIMISER: &str = "optimiser";
const ACCUMULATED: &str = "accumulated";
const EMA: &str = "ema";

/// What a state beside a parameter starts as.
pub(crate) enum Start {
    Zeros,
    /// As the parameter does.
    As(String),
}

/// An elaborated `train` block.
#[derive(Debug)]
pub struct Training {
    pub name: String,
    /// Everything stored, states of optimisers included, in the order of first use.
    pub stored: Vec<Stored>,
    /// What parameters and states start as: no inputs, one output for each by its name; a number stands for all places.
    pub initial: Graph,
    /// In the order in which they take turns.
    pub steps: Vec<TrainStep>,
    pub metrics: Vec<Metric>,
    /// When to end, and what changes on the way.
    pub rules: Vec<Provided>,
    /// Passes over the data of the first step, at most.
    pub epochs: Option<i64>,
    /// Updates of the first step, at most.
    pub max_steps: Option<i64>,
}

/// What is done with one batch to change parameters.
#[derive(Debug)]
pub struct TrainStep {
    pub name: String,
    pub data: Provided,
    /// Inputs: the fields of a batch in their order, then, by name, those of `provided`, `step`, an i32 with the number of
    /// updates so far, and `last`, whether accumulated gradients are applied now. The loss is the only output; parameters and
    /// states of optimisers are updated.
    pub graph: Graph,
    /// Inputs that the training runtime computes.
    pub provided: Vec<(String, Provided)>,
    /// How often the step runs in each turn.
    pub repeats: i64,
    /// Batches whose gradients make one update.
    pub accumulate: i64,
}

/// A number that tells how good a model is, on average over batches.
#[derive(Debug)]
pub struct Metric {
    pub data: Provided,
    /// As that of a step, without updates.
    pub graph: Graph,
}

/// A function of the training runtime, and its arguments in the order of its signature.
#[derive(Clone, Debug)]
pub struct Provided {
    pub name: String,
    pub arguments: Vec<(String, Setting)>,
    /// The call.
    pub span: Span,
}

/// An argument of a function of the training runtime.
#[derive(Clone, Debug)]
pub enum Setting {
    None,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Elem(Elem),
    List(Vec<Setting>),
    /// A metric, by its name.
    Metric(String),
    /// Another source, an augmentation or a rule.
    Provided(Box<Provided>),
    /// A function of examples: one input and one output for each field.
    Function(Box<Graph>),
}

/// One example that a stream yields: its types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Example {
    Tensor(TensorType),
    Tuple(Vec<(Option<String>, Example)>),
}

/// A source of examples.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub example: Example,
    /// What `Rows` is at most, in batches of varying size.
    pub most: Option<i64>,
    pub from: From,
}

/// Where examples come from.
#[derive(Clone, Debug)]
pub(crate) enum From {
    Source(Rc<Provided>),
    /// From other examples, by this function.
    Function(Rc<Graph>),
}

impl Provided {
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.arguments.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Setting::as_int)
    }

    pub fn float(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(Setting::as_float)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Setting::as_text)
    }
}

impl Setting {
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Setting::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match self {
            Setting::Int(n) => Some(*n as f64),
            Setting::Float(x) => Some(*x),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Setting::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Example {
    fn map(&self, f: &impl Fn(&TensorType) -> TensorType) -> Example {
        match self {
            Example::Tensor(ty) => Example::Tensor(f(ty)),
            Example::Tuple(fields) => Example::Tuple(fields.iter().map(|(n, e)| (n.clone(), e.map(f))).collect()),
        }
    }
}

impl Elaborator<'_> {
    pub(super) fn training(&mut self, train: &ast::Train) -> Result<Training> {
        let home = self.home(train.name.span);
        let config = Scope::inside(&home);
        self.bind_params(&train.config, vec![], &config, &train.name.text, train.name.span)?;
        let root = Rc::new(Instance {
            module: Rc::new(pseudo_module(&train.name)),
            config: config.clone(),
            place: RefCell::new(Some(String::new())),
            built: train.name.span,
            first_use: RefCell::new(None),
            children: RefCell::default(),
        });
        self.in_training = true;
        self.firsts.clear();
        self.starts.clear();
        self.frames.push(Frame::new(root));
        let scope = Scope::inside(&config);
        let result = self.train_items(train, &scope).and_then(|mut training| {
            training.initial = self.initial(train.name.span)?;
            training.stored = std::mem::take(&mut self.stored);
            Ok(training)
        });
        self.frames.pop();
        self.in_training = false;
        result
    }

    /// The first values of everything stored as one graph. Each draws its random numbers from streams of its own name.
    fn initial(&mut self, span: Span) -> Result<Graph> {
        self.begin("initial", std::iter::empty());
        for first in std::mem::take(&mut self.firsts) {
            let Some(init) = &first.storage.init else { continue };
            let owner = Instance {
                module: Rc::new(pseudo_module(&first.storage.name)),
                config: first.scope.clone(),
                place: RefCell::new(Some(first.name.clone())),
                built: span,
                first_use: RefCell::new(None),
                children: RefCell::default(),
            };
            self.frames.push(Frame::new(Rc::new(owner)));
            let value = self.first_value(init, &first.storage, &first.ty, &first.scope);
            self.frames.pop();
            self.graph.set_output(&first.name, value?);
        }
        for (name, start) in std::mem::take(&mut self.starts) {
            let same = |of: &str| self.graph.outputs.iter().find(|(n, _)| n == of).map(|(_, v)| *v);
            let value = match &start {
                Start::Zeros => None,
                Start::As(param) => same(param),
            };
            let value = match value {
                Some(value) => value,
                None => {
                    let elem = self.stored[self.index[&name]].ty.elem;
                    self.push(ops::Full { shape: vec![], value: 0.0, elem }, &[], span)?
                }
            };
            self.graph.set_output(&name, value);
        }
        self.finish(span)
    }

    fn train_items(&mut self, train: &ast::Train, scope: &Rc<Scope>) -> Result<Training> {
        for item in &train.items {
            if let TrainKind::Metric { name, .. } = &item.kind {
                scope.set(&name.text, Val::Metric(name.text.as_str().into()));
            }
        }
        let mut training = Training {
            name: train.name.text.clone(),
            stored: vec![],
            initial: Graph::new("initial"),
            steps: vec![],
            metrics: vec![],
            rules: vec![],
            epochs: None,
            max_steps: None,
        };
        for item in &train.items {
            let result = match &item.kind {
                TrainKind::Data { name, value } => self.data(name, value, scope),
                TrainKind::Bind(b) => self.setting(b, scope),
                TrainKind::Rule(e) => self.rule(e, scope).map(|rule| training.rules.push(rule)),
                TrainKind::Step(step) => self.step(step, item.span, scope).map(|s| training.steps.push(s)),
                TrainKind::Metric { name, batch, stream, value } => {
                    self.metric(name, batch, stream, value, scope).map(|m| training.metrics.push(m))
                }
            };
            if let Err(e) = result {
                self.report(*e);
                match &item.kind {
                    TrainKind::Data { name, .. } => scope.set(&name.text, Val::Error),
                    TrainKind::Bind(b) => {
                        super::report::bound_by_pattern(&b.pattern, &mut |n| scope.set(n, Val::Error))
                    }
                    _ => {}
                }
            }
        }
        let setting = |name: &str| scope.get(name).and_then(|v| v.as_int());
        (training.epochs, training.max_steps) = (setting("epochs"), setting("max_steps"));
        if training.steps.is_empty() && self.errors.is_empty() {
            let message = format!("`{}` has no step", train.name.text);
            let error = Diagnostic::new(Code::TRAINING, train.name.span, message);
            return Err(Box::new(error.help("add one: step (b in data) updates net using Sgd() { loss }")));
        }
        Ok(training)
    }

    fn data(&mut self, name: &Name, value: &ast::Expr, scope: &Rc<Scope>) -> Result<()> {
        match self.expr(value, scope)? {
            stream @ Val::Stream(_) => {
                scope.set(&name.text, stream);
                Ok(())
            }
            other => {
                let message = format!("`data` names a source of examples, not {}", other.kind());
                let error = Diagnostic::new(Code::TRAINING, value.span, message);
                Err(Box::new(error.help("for example: data digits = mnist(\"train\") |> shuffle |> batch(128)")))
            }
        }
    }

    fn setting(&mut self, b: &ast::Bind, scope: &Rc<Scope>) -> Result<()> {
        self.bind(b, scope)?;
        let ast::Pattern::Name(name) = &b.pattern else { return Ok(()) };
        let value = scope.get(&name.text);
        if value.as_ref().is_some_and(Val::is_running) {
            scope.set(&name.text, Val::Error);
            let error = Diagnostic::new(Code::TRAINING, b.value.span, "a `train` block holds no tensors of its own");
            return Err(Box::new(error.help("compute it inside the step, or write a function for it")));
        }
        if SETTINGS.contains(&name.text.as_str()) {
            return match value.as_ref().and_then(Val::as_int) {
                Some(n) if n > 0 => Ok(()),
                _ => self.fail(Code::TRAINING, b.value.span, format!("`{}` is a whole number above 0", name.text)),
            };
        }
        match nearest(&name.text, SETTINGS.iter().copied()).filter(|_| value.is_some_and(|v| v.as_int().is_some())) {
            Some(near) => {
                self.fail(Code::TRAINING, name.span, format!("`{}` sets nothing; did you mean `{near}`?", name.text))
            }
            None => Ok(()),
        }
    }

    fn rule(&mut self, e: &ast::Expr, scope: &Rc<Scope>) -> Result<Provided> {
        match self.expr(e, scope)? {
            Val::Opaque(kind, rule) if &*kind == "rule" => Ok((*rule).clone()),
            other => {
                let message = format!("this line of a `train` block does nothing: it is {}", other.kind());
                let error = Diagnostic::new(Code::TRAINING, e.span, message);
                Err(Box::new(error.help("a rule stands here, such as early_stop(accuracy, patience = 3)")))
            }
        }
    }

    /// A new graph with one batch of a stream.
    fn with_batch(
        &mut self,
        name: &str,
        batch: &Name,
        stream: &Name,
        scope: &Rc<Scope>,
    ) -> Result<(Rc<Scope>, Provided)> {
        self.begin(name, std::iter::once(batch.text.clone()));
        self.provided.clear();
        let stream = match self.name(&stream.text, stream.span, scope)? {
            Val::Stream(s) => s,
            other => {
                let message = format!("`{}` is {}; a step reads a `data` source", stream.text, other.kind());
                return self.fail(Code::TRAINING, stream.span, message);
            }
        };
        if let Some(most) = stream.most {
            self.graph.facts.assume(&Fact::Le(Dim::var(ROWS), Dim::int(most)));
            self.sizes.insert(ROWS.into(), batch.span);
        }
        let From::Source(source) = &stream.from else {
            return self.fail(Code::TRAINING, batch.span, "this source is not one of the file's");
        };
        let inner = Scope::inside(scope);
        let value = self.instantiate(&stream.example, &batch.text, batch.span);
        inner.set(&batch.text, value);
        Ok((inner, (**source).clone()))
    }

    fn instantiate(&mut self, example: &Example, name: &str, span: Span) -> Val {
        match example {
            Example::Tensor(ty) => {
                let origin = self.origin(span);
                Val::Tensor(self.graph.operand(name, Storage::Input, ty.clone(), origin))
            }
            Example::Tuple(fields) => {
                let field = |(i, (n, e)): (usize, &(Option<String>, Example))| {
                    let own = n.clone().unwrap_or_else(|| i.to_string());
                    (n.clone(), self.instantiate(e, &format!("{name}.{own}"), span))
                };
                Val::Tuple(Rc::new(fields.iter().enumerate().map(field).collect()))
            }
        }
    }

    /// A loss or metric: one float.
    fn one_float(&mut self, value: &Val, what: &str, span: Span) -> Result<Value> {
        let value = self.tensor(value, None, span)?;
        let ty = self.ty(value);
        match ty.rank() == 0 && ty.elem.is_float() {
            true => Ok(value),
            false => {
                let message = format!("{what} is one float, not {}", self.type_text(&ty));
                Err(Box::new(Diagnostic::new(Code::TRAINING, span, message).help("mean(…) makes one of many")))
            }
        }
    }

    fn metric(
        &mut self,
        name: &Name,
        batch: &Name,
        stream: &Name,
        value: &ast::Expr,
        scope: &Rc<Scope>,
    ) -> Result<Metric> {
        let (inner, data) = self.with_batch(&name.text, batch, stream, scope)?;
        let result = self.expr(value, &inner)?;
        let result = self.one_float(&result, "a metric", value.span)?;
        self.graph.set_output(&name.text, result);
        Ok(Metric { data, graph: self.finish(name.span)? })
    }

    fn step(&mut self, step: &Step, span: Span, scope: &Rc<Scope>) -> Result<TrainStep> {
        let name = step.name.as_ref().map_or("step", |n| n.text.as_str());
        let (inner, data) = self.with_batch(name, &step.batch, &step.stream, scope)?;
        let told = self.errors.len();
        self.training = true;
        let loss = self.loss(&step.body, &inner);
        self.training = false;
        let loss = self.told(loss);
        let options = self.options(step, scope);
        let options = self.told(options);
        // Which parameters are used is not known where the loss has a mistake.
        let updated = match loss {
            Some(_) => self.updated(&step.updates, scope),
            None => super::report::reported(),
        };
        let updated = self.told(updated);
        let optimiser = self.optimiser(step, scope);
        let optimiser = self.told(optimiser);
        let (Some(loss), Some(options), Some(updated), Some(optimiser)) = (loss, options, updated, optimiser) else {
            return super::report::reported();
        };
        if self.errors.len() > told {
            return super::report::reported();
        }
        self.update_all(loss, &options, &updated, &optimiser, step)?;
        self.graph.set_output("loss", loss);
        let count = |name: &str| options.get(name).and_then(Val::as_int).unwrap_or(1);
        let (repeats, accumulate) = (count("repeats"), count("accumulate"));
        let provided = std::mem::take(&mut self.provided);
        Ok(TrainStep { name: name.into(), data, graph: self.finish(span)?, provided, repeats, accumulate })
    }

    fn loss(&mut self, body: &Block, scope: &Rc<Scope>) -> Result<Value> {
        let value = self.block(body, scope)?;
        self.one_float(&value, "the loss", body.value_span())
    }

    /// Options by name; those that are not given are left out.
    fn options(&mut self, step: &Step, scope: &Rc<Scope>) -> Result<HashMap<String, Val>> {
        let mut options = HashMap::new();
        for option in &step.options {
            let Some(name) = &option.name else { continue };
            let value = self.expr(&option.value, scope)?;
            let fits = match OPTIONS.iter().find(|(n, _)| *n == name.text) {
                Some((_, "int")) => value.as_int().is_some_and(|n| n > 0),
                Some(_) => value.as_f64().is_some_and(|x| x > 0.0),
                None => {
                    let hint = nearest(&name.text, OPTIONS.iter().map(|(n, _)| *n));
                    let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
                    return self.fail(
                        Code::NO_OPTION,
                        name.span,
                        format!("a step has no option `{}`{hint}", name.text),
                    );
                }
            };
            if !fits {
                let message = format!("`{}` of a step is a number above 0, not {}", name.text, value.kind());
                return self.fail(Code::TRAINING, option.value.span, message);
            }
            options.insert(name.text.clone(), value);
        }
        Ok(options)
    }

    /// Full names of the parameters that `updates` lists.
    fn updated(&mut self, e: &ast::Expr, scope: &Rc<Scope>) -> Result<Vec<String>> {
        let value = self.expr(e, scope)?;
        let listed = match &value {
            Val::List(items) => items.to_vec(),
            Val::Tuple(fields) => fields.iter().map(|(_, v)| v.clone()).collect(),
            one => vec![one.clone()],
        };
        let mut names = vec![];
        for value in listed {
            let Val::Instance(instance) = &value else {
                let message = format!("`updates` lists layers and models, not {}", value.kind());
                return self.fail(Code::TRAINING, e.span, message);
            };
            let path = instance.path();
            let own = |name: &str| name == path || name.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
            let used = self.stored.iter().filter(|s| s.storage == Storage::Param && own(&s.name));
            let used: Vec<String> = used.map(|s| s.name.clone()).filter(|n| self.versions.contains_key(n)).collect();
            if used.is_empty() {
                let message = format!("this step uses no parameter of `{path}`, which it updates");
                return self.fail(Code::TRAINING, e.span, message);
            }
            names.extend(used);
        }
        Ok(names)
    }

    fn optimiser(&mut self, step: &Step, scope: &Rc<Scope>) -> Result<Rc<Instance>> {
        let span = step.optimiser.span;
        match self.expr(&step.optimiser, scope)? {
            Val::Instance(optimiser) => Ok(optimiser),
            Val::Layer(module) => Err(Box::new(self.not_built(&module, span))),
            other => {
                let message = format!("`using` names an optimiser, not {}", other.kind());
                Err(Box::new(
                    Diagnostic::new(Code::TRAINING, span, message).help("for example: using AdamW(lr = 1e-3)"),
                ))
            }
        }
    }

    fn update_all(
        &mut self,
        loss: Value,
        options: &HashMap<String, Val>,
        updated: &[String],
        optimiser: &Rc<Instance>,
        step: &Step,
    ) -> Result<()> {
        let span = step.optimiser.span;
        let params: Vec<Value> = updated.iter().map(|name| self.read(name)).collect();
        let gradients = match graph::gradients(&mut self.graph, loss, &params) {
            Ok(gradients) => gradients,
            Err(e) => {
                let at = self.graph.node(e.at).origin.span;
                let message = format!("the loss has no gradient here: {}", e.error);
                let error = Diagnostic::new(Code::TRAINING, at, message);
                let error = error.other(step.updates.span, "needed for what is updated");
                return Err(Box::new(error.help("what needs no gradient goes into stop_gradient(…)")));
            }
        };
        let whole = match options.get("accumulate").and_then(Val::as_int) {
            Some(batches) if batches > 1 => Some((batches, self.runtime_input(LAST, Elem::Bool, span))),
            _ => None,
        };
        let mut summed = vec![];
        for (name, gradient) in updated.iter().zip(gradients) {
            summed.push(match whole {
                Some((batches, last)) => self.accumulated(name, gradient, batches, last, span)?,
                None => gradient,
            });
        }
        let mut gradients: Vec<Val> = summed.into_iter().map(Val::Tensor).collect();
        if let Some(most) = options.get("clip_norm")
            && let Some(Found::Item(item, module)) = self.find("clip_norm", LIBRARY)?
        {
            let clip = self.item("clip_norm", item, module, span)?;
            let given = |value: Val| Given { name: None, value, span };
            if let Val::List(clipped) =
                self.call(clip, vec![given(Val::list(gradients.clone())), given(most.clone())], span)?
            {
                gradients = clipped.to_vec();
            }
        }
        for ((name, param), gradient) in updated.iter().zip(params).zip(gradients) {
            let own = Rc::new(Instance {
                module: optimiser.module.clone(),
                config: optimiser.config.clone(),
                place: RefCell::new(Some(join(OPTIMISER, name))),
                built: optimiser.built,
                first_use: RefCell::new(None),
                children: RefCell::default(),
            });
            let given = |value: Val| Given { name: None, value, span };
            let new = self.apply(own, vec![given(Val::Tensor(param)), given(gradient)], span)?;
            let new = self.tensor(&new, None, span)?;
            let (expected, found) = (self.ty(param), self.ty(new));
            if expected != found {
                let (expected, found) = (self.type_text(&expected), self.type_text(&found));
                let message = format!("an optimiser gives the new parameter, {expected} for `{name}`, not {found}");
                return self.fail(Code::TRAINING, span, message);
            }
            self.set_version(name, new);
            if let Some(decay) = options.get("ema").and_then(Val::as_f64) {
                self.follow(name, new, decay, span)?;
            }
            if let Some((_, last)) = whole {
                self.only_when(last, name, span)?;
            }
        }
        Ok(())
    }

    /// The mean of the gradients since the last update, kept beside the parameter until the next one.
    fn accumulated(&mut self, param: &str, gradient: Value, batches: i64, last: Value, span: Span) -> Result<Value> {
        let own = self.beside(param, ACCUMULATED, Start::Zeros);
        let before = self.read(&own);
        let share = self.times(gradient, 1.0 / batches as f64, span)?;
        let sum = self.push(ops::Add {}, &[before, share], span)?;
        let zeros = self.times(sum, 0.0, span)?;
        let next = self.chosen(last, zeros, sum, span)?;
        self.set_version(&own, next);
        Ok(sum)
    }

    /// A running mean of a parameter: `decay` of what it was, the rest of what the parameter is now.
    fn follow(&mut self, param: &str, now: Value, decay: f64, span: Span) -> Result<()> {
        let own = self.beside(param, EMA, Start::As(param.into()));
        let before = self.read(&own);
        let (old, new) = (self.times(before, decay, span)?, self.times(now, 1.0 - decay, span)?);
        let mean = self.push(ops::Add {}, &[old, new], span)?;
        self.set_version(&own, mean);
        Ok(())
    }

    /// New versions of a parameter, and of what its update keeps, count only when `last` holds.
    fn only_when(&mut self, last: Value, param: &str, span: Span) -> Result<()> {
        let state = join(OPTIMISER, param);
        let own = |name: &str| {
            name == param || name == join(EMA, param) || name.strip_prefix(&state).is_some_and(|r| r.starts_with('.'))
        };
        let updated = self.versions.iter().filter(|(name, v)| v.updated && own(name));
        let mut updated: Vec<(String, usize, Value)> = updated.map(|(n, v)| (n.clone(), v.operand, v.value)).collect();
        updated.sort();
        for (name, operand, new) in updated {
            let old = self.graph.operands[operand].value;
            let next = self.chosen(last, new, old, span)?;
            self.set_version(&name, next);
        }
        Ok(())
    }

    /// A state beside a parameter, of its type; gives its full name.
    fn beside(&mut self, param: &str, kind: &str, start: Start) -> String {
        let full = join(kind, param);
        if !self.index.contains_key(&full) {
            let stored =
                Stored { name: full.clone(), storage: Storage::State, ..self.stored[self.index[param]].clone() };
            self.index.insert(full.clone(), self.stored.len());
            self.stored.push(stored);
            self.starts.push((full.clone(), start));
        }
        full
    }

    fn times(&mut self, a: Value, factor: f64, span: Span) -> Result<Value> {
        let ty = self.ty(a);
        let factor = self.push(ops::Full { shape: ty.dims, value: factor, elem: ty.elem }, &[], span)?;
        self.push(ops::Mul {}, &[a, factor], span)
    }

    /// `condition ? a : b`, the condition a tensor without axes.
    fn chosen(&mut self, condition: Value, a: Value, b: Value, span: Span) -> Result<Value> {
        let shape = self.ty(a).dims;
        let everywhere = match shape.is_empty() {
            true => condition,
            false => self.push(ops::Expand { shape }, &[condition], span)?,
        };
        self.push(ops::Where {}, &[everywhere, a, b], span)
    }

    /// An input without axes that the training runtime gives.
    fn runtime_input(&mut self, name: &str, elem: Elem, span: Span) -> Value {
        match self.graph.operands.iter().find(|o| o.name == name && o.storage == Storage::Input) {
            Some(operand) => operand.value,
            None => {
                let origin = self.origin(span);
                self.graph.operand(name, Storage::Input, TensorType::new(elem, vec![]), origin)
            }
        }
    }

    /// The number of updates so far, an input of the step.
    pub(super) fn step_count(&mut self, span: Span) -> Val {
        Val::Tensor(self.runtime_input(STEP, Elem::I32, span))
    }

    /// What the training runtime gives: its type says all that is known.
    pub(super) fn extern_result(&mut self, e: &Extern, scope: &Rc<Scope>, span: Span) -> Result<Val> {
        let mut arguments = vec![];
        for param in &e.params {
            let value = scope.get(&param.name.text).unwrap_or(Val::None);
            arguments.push((param.name.text.clone(), self.as_setting(&value, param.ty.as_ref(), scope, span)?));
        }
        let provided = Rc::new(Provided { name: e.name.text.clone(), arguments, span });
        let ty = &e.result;
        match &ty.kind {
            TyKind::Named { path, arguments } => match (path.as_str(), &arguments[..]) {
                ("stream", [of]) => {
                    let stream = self.stream_of(of, scope, span)?;
                    Ok(Val::Stream(Rc::new(Stream { from: From::Source(provided), ..stream })))
                }
                ("fn", _) => Ok(Val::Given(Rc::new(ty.clone()), scope.clone(), provided)),
                _ => Ok(Val::Opaque(path.as_str().into(), provided)),
            },
            _ => {
                let example = self.example_of(ty, scope, span)?;
                Ok(self.instantiate(&example, "given", span))
            }
        }
    }

    /// A value as the training runtime gets it. A function was turned into a graph when its type was checked.
    fn as_setting(&mut self, value: &Val, ty: Option<&Ty>, scope: &Rc<Scope>, span: Span) -> Result<Setting> {
        Ok(match value {
            Val::None => Setting::None,
            Val::Num(d) if d.as_int().is_some() => Setting::Int(d.as_int().unwrap_or(0)),
            Val::Num(_) | Val::Float(_) if value.as_f64().is_some() => Setting::Float(value.as_f64().unwrap_or(0.0)),
            Val::Bool(b) => Setting::Bool(*b),
            Val::Str(text) => Setting::Text(text.to_string()),
            Val::Elem(elem) => Setting::Elem(*elem),
            Val::List(items) => {
                let items = items.iter().map(|item| self.as_setting(item, None, scope, span));
                Setting::List(items.collect::<Result<_>>()?)
            }
            Val::Metric(name) => Setting::Metric(name.to_string()),
            Val::Opaque(_, provided) => Setting::Provided(Box::new((**provided).clone())),
            Val::Stream(stream) => match &stream.from {
                From::Source(source) => Setting::Provided(Box::new((**source).clone())),
                From::Function(graph) => Setting::Function(Box::new((**graph).clone())),
            },
            function if function.is_callable() => {
                let result = match ty.map(|t| &t.kind) {
                    Some(TyKind::Named { arguments, .. }) => arguments.last().and_then(named),
                    _ => None,
                };
                match result.and_then(|name| scope.get(name)) {
                    Some(made @ Val::Stream(_)) => self.as_setting(&made, None, scope, span)?,
                    _ => return self.fail(Code::TRAINING, span, "this function is not one of examples"),
                }
            }
            other => {
                let message = format!("the training runtime takes no {}", other.kind().trim_start_matches("a "));
                return self.fail(Code::TRAINING, span, message);
            }
        })
    }

    fn stream_of(&mut self, ty: &Ty, scope: &Rc<Scope>, span: Span) -> Result<Stream> {
        if let TyKind::Named { path, arguments } = &ty.kind {
            match (path.as_str(), &arguments[..]) {
                ("batched", [of, rows]) => {
                    let inner = self.stream_of(of, scope, span)?;
                    let rows = self.named_number(rows, scope, span)?;
                    let whole = matches!(scope.get("drop_last"), Some(Val::Bool(true)));
                    let dim = if whole { Dim::int(rows) } else { Dim::var(ROWS) };
                    let batched = |t: &TensorType| TensorType::new(t.elem, [&[dim.clone()], &t.dims[..]].concat());
                    let most = (!whole).then_some(rows);
                    return Ok(Stream { example: inner.example.map(&batched), most, from: inner.from });
                }
                (name, []) => {
                    if let Some(Val::Stream(known)) = scope.get(name) {
                        return Ok((*known).clone());
                    }
                }
                _ => {}
            }
        }
        let nowhere = From::Function(Rc::new(Graph::new("source")));
        Ok(Stream { example: self.example_of(ty, scope, span)?, most: None, from: nowhere })
    }

    fn named_number(&mut self, ty: &Ty, scope: &Rc<Scope>, span: Span) -> Result<i64> {
        let value = match &ty.kind {
            TyKind::Named { path, .. } => scope.get(path).and_then(|v| v.as_int()),
            _ => None,
        };
        match value {
            Some(n) if n > 0 => Ok(n),
            _ => self.fail(Code::TRAINING, span, "the number of rows is a whole number above 0"),
        }
    }

    fn example_of(&mut self, ty: &Ty, scope: &Rc<Scope>, span: Span) -> Result<Example> {
        match &ty.kind {
            TyKind::Tensor { elem, dims } => {
                let elem = self.element(elem.as_ref(), scope)?;
                let mut out = vec![];
                for dim in dims {
                    match dim {
                        ast::DimTy::Expr(e) => out.push(self.dim(e, scope)?),
                        _ => return self.fail(Code::TRAINING, ty.span, "an example has sizes that are known"),
                    }
                }
                Ok(Example::Tensor(TensorType::new(elem, out)))
            }
            TyKind::Tuple(fields) => {
                let field = |(name, ty): &(Option<String>, Ty)| Ok((name.clone(), self.example_of(ty, scope, span)?));
                fields.iter().map(field).collect::<Result<_>>().map(Example::Tuple)
            }
            TyKind::Named { path, arguments } if path == "tensor" => {
                let named = |ty: Option<&Ty>| match ty.map(|t| &t.kind) {
                    Some(TyKind::Named { path, .. }) => scope.get(path),
                    _ => None,
                };
                match (named(arguments.first()), named(arguments.get(1))) {
                    (Some(Val::Elem(elem)), Some(Val::List(dims))) => {
                        let dims = dims.iter().map(|d| self.as_dim(d, span)).collect::<Result<_>>()?;
                        Ok(Example::Tensor(TensorType::new(elem, dims)))
                    }
                    _ => self.fail(Code::TRAINING, span, "expected an element type and a list of sizes"),
                }
            }
            TyKind::Named { path, .. } => match scope.get(path) {
                Some(Val::Stream(known)) => Ok(known.example.clone()),
                _ => self.fail(Code::UNKNOWN_NAME, ty.span, format!("unknown type `{path}`")),
            },
        }
    }

    /// A value as an example, of which only types stay.
    fn example_from(&mut self, value: &Val, span: Span) -> Result<Example> {
        match value {
            Val::Tuple(fields) => {
                let field = |(n, v): &(Option<String>, Val)| Ok((n.clone(), self.example_from(v, span)?));
                fields.iter().map(field).collect::<Result<_>>().map(Example::Tuple)
            }
            value => {
                let tensor = self.tensor(value, None, span)?;
                Ok(Example::Tensor(self.ty(tensor)))
            }
        }
    }

    /// `stream(A)` against a value: a name that is new stands for the type of its examples.
    pub(super) fn match_stream(&mut self, value: &Val, of: Option<&Ty>, scope: &Rc<Scope>, span: Span) -> Result<bool> {
        let (Val::Stream(stream), Some(of)) = (value, of) else { return Ok(false) };
        if let TyKind::Named { path, .. } = &of.kind
            && path.starts_with(char::is_uppercase)
        {
            scope.set(path, value.clone());
            return Ok(true);
        }
        let expected = self.example_of(of, scope, span)?;
        let plain = |e: &Example| match e {
            Example::Tensor(ty) => ty.rank() == 0,
            Example::Tuple(_) => false,
        };
        // One number after another: integers of any width are such a stream.
        Ok(stream.example == expected || plain(&stream.example) && plain(&expected))
    }

    /// `fn(A, C)` against a function of examples: what it gives is the type that `C` stands for.
    pub(super) fn match_function(&mut self, value: &Val, types: &[Ty], scope: &Rc<Scope>, span: Span) -> Result<bool> {
        if !value.is_callable() {
            return Ok(false);
        }
        if value.is_running() {
            return self.fail(Code::TRAINING, span, "a function of examples uses no tensors but its own");
        }
        let [from, to] = types else { return Ok(true) };
        let (Some(Val::Stream(stream)), Some(result)) = (named(from).and_then(|n| scope.get(n)), named(to)) else {
            return Ok(true);
        };
        let (mapped, graph) = self.aside(|e| {
            let example = e.instantiate(&stream.example, "example", span);
            let given = Given { name: None, value: example, span };
            let made = e.call(value.clone(), vec![given], span)?;
            let mapped = e.example_from(&made, span)?;
            e.set_outputs(&made, "result", span)?;
            Ok((mapped, e.finish(span)?))
        })?;
        let from = From::Function(Rc::new(graph));
        scope.set(result, Val::Stream(Rc::new(Stream { example: mapped, most: stream.most, from })));
        Ok(true)
    }

    /// The fields of an example as outputs, in their order.
    fn set_outputs(&mut self, value: &Val, name: &str, span: Span) -> Result<()> {
        match value {
            Val::Tuple(fields) => fields.iter().enumerate().try_for_each(|(i, (n, v))| {
                let own = n.clone().unwrap_or_else(|| i.to_string());
                self.set_outputs(v, &format!("{name}.{own}"), span)
            }),
            value => {
                let value = self.tensor(value, None, span)?;
                self.graph.set_output(name, value);
                Ok(())
            }
        }
    }

    /// A call of a function that the training runtime gives.
    pub(super) fn call_given(
        &mut self,
        ty: &Ty,
        scope: &Rc<Scope>,
        provided: &Provided,
        args: Vec<Given>,
        span: Span,
    ) -> Result<Val> {
        let TyKind::Named { arguments, .. } = &ty.kind else { return Ok(Val::None) };
        let Some((result, inputs)) = arguments.split_last() else { return Ok(Val::None) };
        if args.len() != inputs.len() {
            let message = format!("this function takes {} values, got {}", inputs.len(), args.len());
            return self.fail(Code::NO_OPTION, span, message);
        }
        for (given, ty) in args.iter().zip(inputs) {
            let place = Place { what: What::Name("the argument"), ty, span: given.span };
            self.match_type(&given.value, ty, &place, scope)?;
        }
        let example = self.example_of(result, scope, span)?;
        let known = self.provided.iter().find(|(_, p)| p.span == provided.span);
        if let Some(operand) = known.and_then(|(name, _)| self.graph.operands.iter().find(|o| o.name == *name)) {
            return Ok(Val::Tensor(operand.value));
        }
        let name = format!("{} {}", provided.name, self.provided.len());
        self.provided.push((name.clone(), provided.clone()));
        Ok(self.instantiate(&example, &name, span))
    }
}

/// The name that a type is.
fn named(ty: &Ty) -> Option<&str> {
    match &ty.kind {
        TyKind::Named { path, .. } => Some(path),
        _ => None,
    }
}

/// Stands for a `train` block among the instances.
fn pseudo_module(name: &Name) -> Module {
    let body = Block { span: name.span, stmts: vec![] };
    let function = Function { name: name.clone(), params: vec![], result: None, facts: vec![], body };
    Module { name: name.clone(), config: None, form: Form::Function(function) }
}

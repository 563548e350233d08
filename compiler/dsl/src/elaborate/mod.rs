//! Elaboration: an interpreter over static values whose tensor operations append nodes to a graph.
//!
//! `fn` calls inline, `if`, `for` and lists run here, layers are instances with paths, storage becomes operands of the
//! entry. One [`Elaborator`] serves one model; each entry gets a graph of its own, parameters are shared by path.

mod call;
mod expr;
mod external;
mod instance;
mod items;
mod kernel;
mod pattern;
mod report;
mod run_time;
mod scan;
mod shape;
mod stmt;
mod tensor_ops;
mod train;
mod value;

use crate::ast::{self, Form, Function, Member};
use crate::weights::Rules;
use call::Given;
use diag::{Code, Diagnostic, FileId, SourceMap, Span};
use graph::{Call, Dim, Elem, Graph, Origin, TensorType, Value};
use instance::{Frame, Instance};
use items::{Files, Item, LIBRARY, LibraryItem, Module, ROOT};
pub use items::{import_path, imports};
use report::Use;
pub use run_time::RANDOM_KEY;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
pub use train::{LAST, Metric, Provided, STEP, Setting, TrainStep, Training};
pub(crate) use value::{Scope, Val};

pub(crate) type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// A parameter, state or cache of a model, by its full name.
#[derive(Clone, Debug)]
pub struct Stored {
    pub name: String,
    pub storage: graph::Storage,
    pub ty: TensorType,
    pub span: Span,
}

impl Stored {
    /// The shape, if no caller chooses a part of it.
    pub fn shape(&self) -> Option<Vec<usize>> {
        self.ty.dims.iter().map(|d| d.as_int().map(|n| n as usize)).collect()
    }

    /// Whether training keeps it beside a parameter: it belongs to no model.
    pub fn is_beside_a_parameter(&self) -> bool {
        let kind = self.name.split_once('.').map(|(kind, _)| kind);
        kind.is_some_and(|kind| train::BESIDE.contains(&kind))
    }
}

/// One way into a model.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    /// Operands: inputs first, in the order of the signature, then storage in the order of first use.
    pub graph: Graph,
}

impl Entry {
    /// Names and types of what the caller hands over.
    pub fn inputs(&self) -> Vec<(&str, TensorType)> {
        let inputs = self.graph.operands.iter().filter(|o| o.storage == graph::Storage::Input);
        inputs.map(|o| (o.name.as_str(), self.graph.ty(o.value).clone())).collect()
    }

    /// Names and types of the results; sizes known to equal one of the caller's carry its name.
    pub fn outputs(&self) -> Vec<(&str, TensorType)> {
        let symbols: Vec<Dim> = self.graph.symbols().iter().map(|s| Dim::var(s)).collect();
        let named = |dim: &Dim| {
            let equal = |s: &&Dim| self.graph.facts.eq(s, dim) == graph::Verdict::Proved;
            let known = dim.as_int().is_some() || dim.as_var().is_some();
            symbols.iter().filter(|_| !known).find(equal).unwrap_or(dim).clone()
        };
        let ty = |v: Value| {
            let ty = self.graph.ty(v);
            TensorType::new(ty.elem, ty.dims.iter().map(named).collect())
        };
        self.graph.outputs.iter().map(|(name, v)| (name.as_str(), ty(*v))).collect()
    }

    /// `forward(x: f32[B, 8]) -> (y: f32[B, 4])`
    pub fn signature(&self) -> String {
        let text = |ports: Vec<(&str, TensorType)>| {
            ports.iter().map(|(name, ty)| format!("{name}: {ty}")).collect::<Vec<_>>().join(", ")
        };
        format!("{}({}) -> ({})", self.name, text(self.inputs()), text(self.outputs()))
    }
}

/// An elaborated model.
#[derive(Debug)]
pub struct Model {
    pub name: String,
    pub entries: Vec<Entry>,
    /// Everything stored, in the order of first use.
    pub stored: Vec<Stored>,
    /// The `weights` blocks for this model, by name.
    pub rules: BTreeMap<String, Rules>,
}

/// Values that a caller fixes: constants of the file, configuration of the model, dims of entries.
pub type Defines = [(String, String)];

/// Elaborates the model called `model`, or the only one of the file, or the first. Files that it imports are taken from
/// `sources`, by the names that [`import_path`] gives.
pub fn elaborate(
    sources: &mut SourceMap,
    file: FileId,
    model: Option<&str>,
    defines: &Defines,
) -> std::result::Result<Model, Vec<Diagnostic>> {
    with_elaborator(sources, file, defines, |e| e.model(model, Span::new(file, 0, 0)))
}

/// As [`elaborate`], with every `train` block of the file.
pub fn elaborate_all(
    sources: &mut SourceMap,
    file: FileId,
    model: Option<&str>,
    defines: &Defines,
) -> std::result::Result<(Model, Vec<Training>), Vec<Diagnostic>> {
    with_elaborator(sources, file, defines, |e| {
        let model = e.model(model, Span::new(file, 0, 0));
        let model = e.told(model);
        e.forget_stored();
        let blocks = std::mem::take(&mut e.training_blocks);
        let mut training = vec![];
        for block in &blocks {
            let result = e.training(block);
            training.extend(e.told(result));
            e.forget_stored();
        }
        model.map_or_else(report::reported, |model| Ok((model, training)))
    })
}

/// Runs `f` on an elaborator that knows the items of a file. All mistakes come back together, in the order of the text.
fn with_elaborator<T: Send>(
    sources: &mut SourceMap,
    file: FileId,
    defines: &Defines,
    f: impl FnOnce(&mut Elaborator) -> Result<T> + Send,
) -> std::result::Result<T, Vec<Diagnostic>> {
    let files = Files::parse(sources, file)?;
    let defines = parse_defines(sources, defines)?;
    let mut library = HashMap::new();
    for (name, text) in crate::STANDARD_LIBRARY {
        let file = sources.add(*name, *text);
        let items = crate::parse::outline(text);
        library.extend(items.map(|(name, offset, text)| (name, LibraryItem { file, offset, text })));
    }
    let sources = &*sources;
    let elaborate = || {
        let mut elaborator = Elaborator::new(&files, library, sources, defines);
        let result = f(&mut elaborator);
        match result {
            Ok(value) if elaborator.errors.is_empty() => Ok(value),
            Ok(_) => Err(elaborator.mistakes()),
            Err(e) => {
                elaborator.report(*e);
                Err(elaborator.mistakes())
            }
        }
    };
    // Calls nest as deep as the model says; the limit on them is counted, not measured, so the stack is ample.
    let result = std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(threads, elaborate);
        thread.map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    match result {
        Ok(result) => result,
        Err(e) => {
            let message = format!("cannot start a thread to elaborate on: {e}");
            Err(vec![Diagnostic::new(Code::TOO_DEEP, Span::new(file, 0, 0), message)])
        }
    }
}

/// What `-D name=value` says, as constants.
fn parse_defines(
    sources: &mut SourceMap,
    defines: &Defines,
) -> std::result::Result<HashMap<String, ast::Expr>, Vec<Diagnostic>> {
    let mut parsed = HashMap::new();
    for (name, value) in defines {
        let text = format!("const {name} = {value}");
        let file = sources.add(format!("-D {name}={value}"), text.as_str());
        let mut tree = crate::parse(&text, file)?;
        match tree.items.pop().map(|i| i.kind) {
            Some(ast::ItemKind::Const { value, .. }) if tree.items.is_empty() => parsed.insert(name.clone(), value),
            _ => {
                let message = format!("-D {name}={value}: expected one value");
                return Err(vec![Diagnostic::new(Code::SYNTAX, Span::new(file, 0, text.len()), message)]);
            }
        };
    }
    Ok(parsed)
}

/// Bytes of stack for the deepest nesting of calls that is allowed.
const STACK: usize = 256 << 20;

pub(crate) struct Elaborator<'a> {
    /// The library first, then the file that is elaborated, then what it imports.
    modules: Vec<Module>,
    module_of: HashMap<FileId, usize>,
    /// What nobody has named yet.
    library: HashMap<&'static str, LibraryItem>,
    models: Vec<String>,
    weights: Vec<ast::Weights>,
    training_blocks: Vec<ast::Train>,
    sources: &'a SourceMap,
    defines: HashMap<String, ast::Expr>,
    /// Defines that something asked for.
    used: RefCell<HashSet<String>>,
    float: Elem,
    /// Values of constants, by module and name; `None` while one is worked out.
    consts: HashMap<(usize, String), Option<Val>>,
    /// The entry under construction.
    graph: Graph,
    /// Current versions of stored tensors in this graph, by full name.
    versions: HashMap<String, Version>,
    /// How operands of this graph were declared.
    declared: HashMap<Value, Declared>,
    /// Where the sizes that the caller chooses are named.
    sizes: HashMap<String, Span>,
    /// Sizes that have the value of a tensor of this graph.
    run_time: HashMap<Value, Dim>,
    /// Names of this entry's inputs.
    inputs: HashSet<String>,
    /// Streams of random numbers in use in this graph.
    streams: HashSet<u32>,
    /// Whether layers act as in training.
    training: bool,
    /// Whether a `train` block is elaborated.
    in_training: bool,
    stored: Vec<Stored>,
    /// Positions in `stored`, by full name.
    index: HashMap<String, usize>,
    stored_types: HashMap<String, Declared>,
    /// First values of what is stored, for training.
    firsts: Vec<instance::First>,
    /// What states start as that training adds.
    starts: Vec<(String, train::Start)>,
    /// What the training runtime gives to the step under construction: names of inputs, and what computes them.
    provided: Vec<(String, Provided)>,
    /// Declarations whose first values were checked, with the types they had.
    initialised: HashSet<(Span, String)>,
    frames: Vec<Frame>,
    calls: Option<Arc<Call>>,
    /// The same calls, for messages.
    uses: Vec<Use>,
    depth: usize,
    /// Expressions that were evaluated.
    evaluated: usize,
    errors: Vec<Diagnostic>,
    /// A mistake was met after which nothing is worth checking.
    stopped: bool,
}

/// The declaration of an operand, for messages.
#[derive(Clone)]
struct Declared {
    name: Option<String>,
    ty: Span,
    /// One for each axis, where the type lists them.
    dims: Vec<Span>,
    states_elem: bool,
}

impl Declared {
    fn new(name: &str, ty: &ast::Ty) -> Declared {
        let mut declared = Declared { name: Some(name.to_string()), ty: ty.span, dims: vec![], states_elem: true };
        if let ast::TyKind::Tensor { elem, dims } = &ty.kind {
            declared.states_elem = elem.is_some();
            let spans = dims.iter().map(|d| match d {
                ast::DimTy::Expr(e) => Some(e.span),
                _ => None,
            });
            declared.dims = spans.collect::<Option<_>>().unwrap_or_default();
        }
        declared
    }
}

struct Version {
    operand: usize,
    value: Value,
    updated: bool,
}

impl<'a> Elaborator<'a> {
    fn new(
        files: &Files,
        library: HashMap<&'static str, LibraryItem>,
        sources: &'a SourceMap,
        defines: HashMap<String, ast::Expr>,
    ) -> Self {
        let mut e = Elaborator {
            modules: vec![Module::default()],
            module_of: library.values().map(|item| (item.file, LIBRARY)).collect(),
            library,
            models: vec![],
            weights: vec![],
            training_blocks: vec![],
            sources,
            defines,
            used: RefCell::default(),
            float: Elem::F32,
            consts: HashMap::new(),
            graph: Graph::new("entry"),
            versions: HashMap::new(),
            declared: HashMap::new(),
            sizes: HashMap::new(),
            run_time: HashMap::new(),
            inputs: HashSet::new(),
            streams: HashSet::new(),
            training: false,
            in_training: false,
            stored: vec![],
            index: HashMap::new(),
            stored_types: HashMap::new(),
            firsts: vec![],
            starts: vec![],
            provided: vec![],
            initialised: HashSet::new(),
            frames: vec![],
            calls: None,
            uses: vec![],
            depth: 0,
            evaluated: 0,
            errors: vec![],
            stopped: false,
        };
        e.take_files(files);
        if let Err(error) = e.take_float() {
            e.report(*error);
        }
        e
    }

    /// `-D float=bf16`
    fn take_float(&mut self) -> Result<()> {
        let Some(value) = self.define("float")? else { return Ok(()) };
        let span = self.defines["float"].span;
        match value {
            Val::Elem(elem) if elem.is_float() => {
                self.float = elem;
                Ok(())
            }
            other => {
                let message = format!("`float` is f64, f32, f16 or bf16, not {}", other.kind());
                self.fail(Code::STATIC_TYPE, span, message)
            }
        }
    }

    /// Everything that is wrong, in the order of the text.
    fn mistakes(&mut self) -> Vec<Diagnostic> {
        let mut errors = std::mem::take(&mut self.errors);
        errors.sort_by_key(|e| (e.primary.span.file, e.primary.span.start));
        errors
    }

    /// The model with all its entries. Each entry has its say: the mistakes of one do not hide those of another.
    fn model(&mut self, chosen: Option<&str>, start: Span) -> Result<Model> {
        let name = self.choose(chosen, start)?;
        let span = self.modules[ROOT].items[&name].1;
        let root = self.root(&name, span)?;
        let functions: Vec<(String, Function)> = match &root.module.form {
            Form::Function(f) => vec![("forward".into(), f.clone())],
            Form::Members { members, .. } => members
                .iter()
                .filter_map(|m| match m {
                    Member::Entry(f) => Some((f.name.text.clone(), f.clone())),
                    _ => None,
                })
                .collect(),
        };
        let mut entries = vec![];
        for (name, function) in functions {
            match self.entry(&root, &name, &function) {
                Ok(graph) => entries.push(Entry { name, graph }),
                Err(e) => self.report(*e),
            }
        }
        if !self.errors.is_empty() {
            return report::reported();
        }
        if entries.is_empty() {
            let error = Diagnostic::new(Code::MISSING_ARGUMENT, span, format!("`{name}` has no entry to compile"));
            return Err(Box::new(error.help("add one: entry forward(x: [B, 8]) -> [B, 4] = …")));
        }
        self.defines_are_used(&root, span)?;
        let rules = self.rules(&name, &root)?;
        Ok(Model { name, entries, stored: std::mem::take(&mut self.stored), rules })
    }

    fn choose(&self, chosen: Option<&str>, start: Span) -> Result<String> {
        match (chosen, self.models.first()) {
            (Some(name), _) if self.models.iter().any(|m| m == name) => Ok(name.to_string()),
            (Some(name), _) => {
                let message = format!("no model `{name}`; this file has {}", list_of(&self.models));
                self.fail(Code::UNKNOWN_NAME, start, message)
            }
            (None, Some(name)) => Ok(name.clone()),
            (None, None) if !self.errors.is_empty() => report::reported(),
            (None, None) => self.fail(Code::UNKNOWN_NAME, start, "this file has no model"),
        }
    }

    fn defines_are_used(&self, root: &Instance, span: Span) -> Result<()> {
        let config = root.module.config.iter().flatten().map(|p| p.name.text.as_str());
        let items = self.modules[ROOT..].iter().flat_map(|m| &m.items);
        let consts = items.filter(|(_, (i, _))| matches!(i, Item::Const(_))).map(|(n, _)| n.as_str());
        let known: Vec<&str> = config.chain(consts).chain(self.sizes.keys().map(String::as_str)).collect();
        let used = self.used.borrow();
        let unused = self.defines.keys().filter(|n| !used.contains(*n) && !known.contains(&n.as_str())).min();
        let Some(name) = unused else { return Ok(()) };
        let hint = nearest(name, known.into_iter()).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        let model = &root.module.name.text;
        self.fail(
            Code::UNKNOWN_NAME,
            span,
            format!("-D {name}: {model} has no constant, configuration or size of this name{hint}"),
        )
    }

    /// The `weights` blocks for a model; an alias has those of the model it configures too.
    fn rules(&self, name: &str, root: &Instance) -> Result<BTreeMap<String, Rules>> {
        let base = &root.module.name.text;
        let own = self.weights.iter().filter(|w| w.model.text == *base || w.model.text == name);
        own.map(|w| Ok((w.name.text.clone(), Rules::new(w)?))).collect()
    }

    /// The root instance of a model, with configuration from `-D` where it names one.
    fn root(&mut self, name: &str, span: Span) -> Result<Rc<Instance>> {
        let home = Scope::root(ROOT);
        let (module, mut args) = match self.modules[ROOT].items[name].0.clone() {
            Item::Layer(module) => (module, vec![]),
            // `model Gpt2Medium = Gpt2(dim = 1024)`
            Item::Alias(value) => match &value.kind {
                ast::ExprKind::Call { callee, args } => match self.expr(callee, &home)? {
                    Val::Layer(module) => (module, self.given(args, &home)?),
                    other => {
                        let message = format!("expected a model with its configuration, got {}", other.kind());
                        return self.fail(Code::STATIC_TYPE, callee.span, message);
                    }
                },
                _ => {
                    return self.fail(
                        Code::STATIC_TYPE,
                        value.span,
                        "expected a model with its configuration: Gpt2(dim = 1024)",
                    );
                }
            },
            _ => return self.fail(Code::UNKNOWN_NAME, span, format!("`{name}` is no model")),
        };
        for (i, param) in module.config.iter().flatten().enumerate() {
            let Some(value) = self.define(&param.name.text)? else { continue };
            let given = args.iter().enumerate().position(|(at, a)| match &a.name {
                Some(name) => name.text == param.name.text,
                None => at == i,
            });
            match given {
                Some(at) => args[at].value = value,
                None => args.push(Given { name: Some(param.name.clone()), value, span }),
            }
        }
        match self.build(&module, args, span)? {
            Val::Instance(root) => {
                root.place.replace(Some(String::new()));
                Ok(root)
            }
            _ => self.fail(Code::STATIC_TYPE, span, format!("`{name}` is no model")),
        }
    }

    /// What `-D name=value` says.
    fn define(&mut self, name: &str) -> Result<Option<Val>> {
        let Some(value) = self.defines.get(name).cloned() else { return Ok(None) };
        self.used.borrow_mut().insert(name.to_string());
        self.expr(&value, &Scope::root(ROOT)).map(Some)
    }

    fn entry(&mut self, root: &Rc<Instance>, name: &str, function: &Function) -> Result<Graph> {
        self.begin(name, function.params.iter().map(|p| p.name.text.clone()));
        let scope = self.members(root)?;
        self.frames.push(Frame::new(root.clone()));
        let outputs = self.entry_body(function, &scope);
        self.frames.pop();
        for (name, value) in outputs? {
            self.graph.set_output(name, value);
        }
        self.finish(function.name.span)
    }

    /// A new graph.
    fn begin(&mut self, name: &str, inputs: impl Iterator<Item = String>) {
        self.graph = Graph::new(name);
        self.versions.clear();
        self.declared.clear();
        self.run_time.clear();
        self.streams.clear();
        self.inputs = inputs.collect();
    }

    /// Another model starts.
    fn forget_stored(&mut self) {
        self.stored.clear();
        self.index.clear();
        self.stored_types.clear();
    }

    /// The graph, whose outputs are set, with the new versions of what is stored.
    fn finish(&mut self, span: Span) -> Result<Graph> {
        self.next_random_key(span)?;
        let mut updates: Vec<(usize, Value)> =
            self.versions.values().filter(|v| v.updated).map(|v| (v.operand, v.value)).collect();
        updates.sort();
        self.graph.updates = updates;
        self.graph.remove_dead();
        Ok(std::mem::take(&mut self.graph))
    }

    fn entry_body(&mut self, function: &Function, parent: &Rc<Scope>) -> Result<Vec<(String, Value)>> {
        let scope = Scope::inside(parent);
        for param in &function.params {
            let Some(ty) = param.ty.as_ref() else {
                return self.fail(Code::MISSING_ARGUMENT, param.name.span, "an input of an entry has a type");
            };
            let value = match &ty.kind {
                ast::TyKind::Tensor { elem, dims } => {
                    let declared = Declared::new(&param.name.text, ty);
                    let ty = self.entry_type(elem.as_ref(), dims, &scope)?;
                    self.countable(&ty, param.name.span)?;
                    let name = param.outer.clone().unwrap_or_else(|| param.name.text.clone());
                    let origin = self.origin(param.name.span);
                    let value = self.graph.operand(name, graph::Storage::Input, ty, origin);
                    self.declared.insert(value, declared);
                    Val::Tensor(value)
                }
                _ => match &param.default {
                    Some(default) => self.expr(default, &scope)?,
                    None => {
                        return self.fail(Code::STATIC_TYPE, ty.span, "inputs of an entry are tensors");
                    }
                },
            };
            scope.set(&param.name.text, value);
        }
        self.facts(&function.facts, &scope)?;
        self.named_results(function)?;
        let value = self.block(&function.body, &scope)?;
        let value = match &function.result {
            Some(ty) => self.check_result(value, ty, &scope, &function.name.text, function.body.value_span())?,
            None => value,
        };
        self.outputs(value, function)
    }

    /// The type of an entry's input; capitals that are new become sizes the caller chooses.
    fn entry_type(&mut self, elem: Option<&ast::Name>, dims: &[ast::DimTy], scope: &Rc<Scope>) -> Result<TensorType> {
        let elem = self.element(elem, scope)?;
        let mut out = vec![];
        for dim in dims {
            match dim {
                ast::DimTy::Expr(e) => {
                    if let ast::ExprKind::Name(name) = &e.kind
                        && name.starts_with(char::is_uppercase)
                        && scope.get(name).is_none()
                    {
                        let size = self.define(name)?.unwrap_or_else(|| Val::Num(Dim::var(name)));
                        self.sizes.insert(name.clone(), e.span);
                        scope.set(name, size);
                    }
                    out.push(self.dim(e, scope)?);
                }
                ast::DimTy::Hole(span) => return self.fail(Code::SHAPE, *span, "an input needs a name for each dim"),
                ast::DimTy::Shape(name) => {
                    return self.fail(
                        Code::SHAPE,
                        name.span,
                        "an input has a fixed rank; `..` stands in functions and layers",
                    );
                }
            }
        }
        Ok(TensorType::new(elem, out))
    }

    /// The results of an entry are its output names.
    fn named_results(&self, function: &Function) -> Result<()> {
        let Some(ast::Ty { kind: ast::TyKind::Tuple(fields), span, .. }) = &function.result else { return Ok(()) };
        if fields.iter().all(|(name, _)| name.is_some()) {
            return Ok(());
        }
        let letters = ["x", "y", "z"];
        let named = fields.iter().enumerate().map(|(i, (name, ty))| {
            let name = name.clone().unwrap_or_else(|| letters.get(i).map_or(format!("x{i}"), |l| l.to_string()));
            format!("{name}: {}", self.sources.snippet(ty.span))
        });
        let named: Vec<String> = named.collect();
        let message = format!("{} returns several values; name them: -> ({})", function.name.text, named.join(", "));
        self.fail(Code::UNNAMED_RESULTS, *span, message)
    }

    fn outputs(&mut self, value: Val, function: &Function) -> Result<Vec<(String, Value)>> {
        let span = function.body.value_span();
        let Val::Tuple(fields) = &value else {
            let tensor = self.tensor(&value, None, span)?;
            let name = match function.result.as_ref().map(|t| &t.kind) {
                Some(ast::TyKind::Tuple(fields)) => fields.first().and_then(|(n, _)| n.clone()),
                _ => None,
            };
            return Ok(vec![(name.unwrap_or_else(|| "output".into()), tensor)]);
        };
        let output = |(name, v): &(Option<String>, Val)| match name {
            Some(name) => Ok((name.clone(), self.tensor(v, None, span)?)),
            None => {
                let message = format!("{} returns several values; name them: (x = a, y = b)", function.name.text);
                self.fail(Code::UNNAMED_RESULTS, span, message)
            }
        };
        fields.iter().map(output).collect()
    }

    fn origin(&self, span: Span) -> Origin {
        Origin { span, calls: self.calls.clone() }
    }

    fn fail<T>(&self, code: Code, span: Span, message: impl Into<String>) -> Result<T> {
        Err(Box::new(Diagnostic::new(code, span, message)))
    }

    /// As [`Elaborator::fail`], with a way out.
    fn advise<T>(&self, code: Code, span: Span, message: impl Into<String>, help: impl Into<String>) -> Result<T> {
        Err(Box::new(Diagnostic::new(code, span, message).help(help)))
    }

    /// The element type that a type without one means.
    fn float(&self) -> Elem {
        self.float
    }
}

pub(crate) fn list_of(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
    }
}

/// The name among `names` that is nearest to `wrong`, if one is near.
pub(crate) fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.map(|n| (distance(wrong, n), n)).min();
    near.filter(|(d, _)| *d <= 1 + wrong.len() / 4 && *d < wrong.len()).map(|(_, n)| n)
}

/// Edits, swaps of neighbours included, that turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]) as usize;
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

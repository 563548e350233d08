//! From a file to a model: every step in order, timed, each result there to look at.

use crate::constants::{Constant, Content, Imported, Values};
use crate::error::Error;
use crate::native;
use crate::plan::Planner;
use crate::target::{Cpu, Cuda, Function, Target, cuda_kernels};
use cpu::EntryStep;
use diag::SourceMap;
use dsl::Stored;
use dsl::weights::Rules;
use engine::{Cache, Code, Isa, Kernels};
use graph::{Graph, Storage};
use lower::{LowerError, Lowered, LoweredKernel, Step};
use passes::Cx;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to compile, and how.
pub struct Compiler {
    sources: SourceMap,
    source: Source,
    model: Option<String>,
    defines: Vec<(String, String)>,
    target: Target,
    fuel: Option<u64>,
    jit: bool,
    import: Option<Arc<onnx::Import>>,
    pub(crate) cache: Option<Cache>,
}

enum Source {
    File(diag::FileId),
    Graph(Graph),
}

/// A compiler for the model in a file, and those that it imports. A file of ONNX is read as a model of the language that
/// brings its weights.
///
/// ```
/// let model = nnc::compile("../../dsl-examples/mnist_mlp.nn")?.define("hidden", 32).build()?;
/// assert_eq!((model.name.as_str(), model.stored.len()), ("Mlp", 4));
/// let error = nnc::compile("../../dsl-examples/mnist_mlp.nn")?.define("hiden", 32).build().err().unwrap();
/// assert!(error.to_string().contains("hiden"));
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn compile(path: impl AsRef<Path>) -> Result<Compiler, Error> {
    let path = path.as_ref();
    if onnx::is_onnx(path) {
        let import = onnx::open(path)?;
        let mut compiler = compile_text(&path.display().to_string(), &import.text);
        compiler.import = Some(import.into());
        return Ok(compiler);
    }
    let text = tensor::read_text(path)?;
    let mut compiler = compile_text(&path.display().to_string(), &text);
    if let Source::File(file) = compiler.source {
        read_imports(&mut compiler.sources, file);
    }
    Ok(compiler)
}

/// Adds the files that a file imports, and those that they import. What cannot be read is left out: its import says so.
fn read_imports(sources: &mut SourceMap, file: diag::FileId) {
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        for path in dsl::imports(sources.text(file)) {
            let name = dsl::import_path(sources.name(file), &path);
            if sources.find(&name).is_none()
                && let Ok(text) = tensor::read_text(Path::new(&name))
            {
                open.push(sources.add(name, text));
            }
        }
    }
}

/// A compiler for a model in memory; `name` stands for it in messages.
///
/// ```
/// let text = "model Twice(x: [N]) -> (y: [N]) = 2 * x";
/// let program = nnc::compile_text("twice.nn", text).build()?.load(&[] as &[&str], None)?;
/// let y = program.session(1).call("forward", &[nnc::Tensor::new(&[3], &[1f32, 2.0, 3.0])])?;
/// assert_eq!(y[0].to_f64(), [2.0, 4.0, 6.0]);
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn compile_text(name: &str, text: &str) -> Compiler {
    let mut sources = SourceMap::default();
    let file = sources.add(name, text);
    Compiler::of(sources, Source::File(file))
}

/// A compiler for a model that is one graph, its only entry.
pub fn compile_graph(graph: Graph) -> Compiler {
    let mut sources = SourceMap::default();
    sources.add(&graph.name, graph.to_string());
    Compiler::of(sources, Source::Graph(graph))
}

/// A compiled model without weights.
pub struct Model {
    /// As in the source.
    pub name: String,
    /// Parameters and other storage, in the order of first use.
    pub stored: Vec<Stored>,
    /// The `weights` blocks, by name.
    pub rules: BTreeMap<String, Rules>,
    /// The plan of each entry: its inputs, outputs, guards and steps.
    pub entries: Vec<engine::Entry>,
    /// Where the weights are, of a model that brings them.
    pub(crate) import: Option<Arc<onnx::Import>>,
    pub(crate) constants: Vec<Constant>,
    pub(crate) kept: Vec<engine::Kept>,
    pub(crate) code: Kernels,
    /// Graphs after the passes, and their kernels, in the order of the entries; none of a model that was kept in a cache.
    pub compiled: Vec<Compiled>,
    /// What compiling took, in the order of the stages.
    pub stages: Vec<Stage>,
}

impl Model {
    /// The values that the model brings; nothing if it needs to be given them.
    pub fn own_values(&self) -> Option<Values> {
        self.import.clone().map(|import| Values::Import(Imported(import)))
    }

    /// What the code needs: an instruction set, or the architectures of GPUs.
    pub fn target(&self) -> String {
        self.code.target()
    }

    /// Bytes of code.
    pub fn code_bytes(&self) -> usize {
        self.code.bytes()
    }

    /// How many kernels there are; those that are equal count once.
    pub fn kernels(&self) -> usize {
        self.code.count()
    }
}

/// One entry between source and machine code. [`Lowered::setbacks`] tells what became slower than wanted.
pub struct Compiled {
    /// After the passes.
    pub graph: Graph,
    /// Its kernels, buffers and steps.
    pub lowered: Lowered<Function>,
}

/// A part of compiling and the time it took.
#[derive(Clone, Debug)]
pub struct Stage {
    /// `elaborate`, a pass, `lower` or `emit`; `cache` alone if the model was kept in one.
    pub name: String,
    /// Of all entries together.
    pub time: Duration,
}

impl Compiler {
    /// The model as it was given, or as an import has become.
    pub fn text(&self) -> String {
        match &self.source {
            Source::File(file) => self.sources.text(*file).to_string(),
            Source::Graph(graph) => graph.to_string(),
        }
    }

    fn of(sources: SourceMap, source: Source) -> Compiler {
        Compiler {
            sources,
            source,
            model: None,
            defines: vec![],
            target: Target::Cpu(Isa::host()),
            fuel: None,
            jit: false,
            import: None,
            cache: None,
        }
    }

    /// Chooses one of several models.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Fixes a constant, a configuration of the model, or a dim of its inputs.
    pub fn define(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.defines.push((name.into(), value.to_string()));
        self
    }

    /// Compiles for another instruction set than the widest of this machine.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.target = Target::Cpu(isa);
        self
    }

    /// Compiles for what else there is: [`Target::Cuda`] needs NVIDIA's compiler library, and a GPU only to run.
    ///
    /// ```
    /// let text = "model Twice(x: [N]) -> (y: [N]) = 2 * x";
    /// let model = nnc::compile_text("twice.nn", text).target(nnc::Target::Cuda(vec![])).build()?;
    /// let kernel = model.compiled[0].lowered.kernels[0].loops().unwrap();
    /// assert!(nnc::cuda(&kernel.code)?.contains("blockIdx.x"));
    /// # Ok::<(), nnc::Error>(())
    /// ```
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// At most this many rewrites, for finding one that is wrong.
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = Some(fuel);
        self
    }

    /// Links code by cranelift-jit and not by the engine: the same functions by a second route, to hold the first
    /// against.
    pub fn jit(mut self) -> Self {
        self.jit = true;
        self
    }

    /// Keeps what [`Compiler::build`] makes for CPUs, and takes from there what it has made before of the same texts,
    /// settings and compiler. Such a model has no [`Model::compiled`].
    ///
    /// ```
    /// let folder = std::env::temp_dir().join(format!("nnc-doc-kept-{}", std::process::id()));
    /// let build = || nnc::compile("../../dsl-examples/mnist_mlp.nn")?.cache(nnc::Cache::at(&folder)).build();
    /// let (first, second) = (build()?, build()?);
    /// assert_eq!(second.stages.len(), 1);
    /// assert_eq!((first.code_bytes(), first.stored.len()), (second.code_bytes(), second.stored.len()));
    /// # std::fs::remove_dir_all(folder).map_err(|e| nnc::Error::Defect(e.to_string()))?;
    /// # Ok::<(), nnc::Error>(())
    /// ```
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// What the result follows from besides the compiler; nothing of what is not kept.
    pub(crate) fn settings(&self) -> Option<Vec<String>> {
        let (Source::File(_), Target::Cpu(isa), None, false) = (&self.source, &self.target, self.fuel, self.jit) else {
            return None;
        };
        let chosen = format!("{isa} {:?} {:?}", self.model, self.defines);
        let texts = self.sources.files().flat_map(|(name, text)| [name.to_string(), text.to_string()]);
        Some([chosen].into_iter().chain(texts).collect())
    }

    /// The folder of the model's file.
    pub(crate) fn folder(&self) -> PathBuf {
        match &self.source {
            Source::File(file) => Path::new(self.sources.name(*file)).parent().unwrap_or(Path::new("")).into(),
            Source::Graph(_) => PathBuf::new(),
        }
    }

    /// The texts that messages point into.
    pub fn sources(&self) -> &SourceMap {
        &self.sources
    }

    /// Resolves names, infers shapes and checks everything that can be checked without compiling.
    ///
    /// ```
    /// let error = nnc::compile_text("m.nn", "model M(x: [B, 4]) -> [B, 5] = relu(x)").elaborate().err().unwrap();
    /// let nnc::Error::Model { diagnostics, .. } = &error else { panic!() };
    /// assert_eq!(diagnostics[0].code.to_string(), "E0304");
    /// ```
    pub fn elaborate(&mut self) -> Result<dsl::Model, Error> {
        let file = match &self.source {
            Source::File(file) => *file,
            Source::Graph(graph) => return Ok(model_of(graph.clone())),
        };
        let result = dsl::elaborate(&mut self.sources, file, self.model.as_deref(), &self.defines);
        result.map_err(|diagnostics| Error::Model { diagnostics, sources: Box::new(self.sources.clone()) })
    }

    /// As [`Compiler::elaborate`], and the `train` blocks of the file too.
    pub fn check(&mut self) -> Result<(dsl::Model, Vec<dsl::Training>), Error> {
        let file = match &self.source {
            Source::File(file) => *file,
            Source::Graph(graph) => return Ok((model_of(graph.clone()), vec![])),
        };
        let result = dsl::elaborate_all(&mut self.sources, file, self.model.as_deref(), &self.defines);
        result.map_err(|diagnostics| Error::Model { diagnostics, sources: Box::new(self.sources.clone()) })
    }

    /// Compiles every entry.
    ///
    /// ```
    /// let model = nnc::compile("../../dsl-examples/gan.nn")?.model("Generator").build()?;
    /// assert!(model.kernels() > 0 && model.code_bytes() > 0 && model.target() == nnc::Isa::host().to_string());
    /// # Ok::<(), nnc::Error>(())
    /// ```
    pub fn build(self) -> Result<Model, Error> {
        let Some(place) = self.place() else { return self.build_observed(None, &mut |_, _, _| {}) };
        if let Some(kept) = place.get(self.import.clone()) {
            return Ok(kept);
        }
        let model = self.build_observed(None, &mut |_, _, _| {})?;
        place.put(&model);
        Ok(model)
    }

    /// As [`Compiler::build`]; `after` sees each entry's graph after each pass, by the pass's name.
    pub fn build_observed(
        mut self,
        stop: Option<&str>,
        after: &mut dyn FnMut(&str, &str, &Graph),
    ) -> Result<Model, Error> {
        let mut clock = Clock::default();
        let model = clock.time("elaborate", || self.elaborate())?;
        self.finish(model, stop, after, clock)
    }

    pub(crate) fn finish(
        &self,
        model: dsl::Model,
        stop: Option<&str>,
        after: &mut dyn FnMut(&str, &str, &Graph),
        mut clock: Clock,
    ) -> Result<Model, Error> {
        let module = Compiler::module()?;
        let mut compiled = vec![];
        let kept = kept(&model);
        for entry in model.entries {
            let name = entry.name.clone();
            compiled.push((name, self.lowered(entry, &kept, &module, stop, after, &mut clock)?));
        }
        let mut kernels: Vec<&LoweredKernel<Function>> = vec![];
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut numbers = vec![];
        for (_, c) in &compiled {
            let number = |k: &'_ LoweredKernel<Function>| match k {
                LoweredKernel::Loops(k) => format!("{}{}", k.kernel, k.schedule),
                LoweredKernel::Routine(r) => format!("{} {:?} {}", r.name, r.elems, r.sizes),
                LoweredKernel::Extern(external, operands) => format!("{external:?} {operands}"),
            };
            let mut own = vec![];
            for kernel in &c.lowered.kernels {
                let index = *known.entry(number(kernel)).or_insert(kernels.len());
                if index == kernels.len() {
                    kernels.push(kernel);
                }
                own.push(index);
            }
            numbers.push(own);
        }
        let code = clock.time("emit", || match &self.target {
            Target::Cpu(isa) => {
                let code = self.emit(module, *isa, &kernels, &compiled, &numbers)?;
                Ok::<_, Error>(Kernels::Cpu(Arc::new(code)))
            }
            Target::Cuda(archs) => Ok(Kernels::Cuda(cuda_kernels(&kernels, archs)?.into())),
        })?;
        let mut constants = vec![];
        let mut entries = vec![];
        let names: Vec<&str> = kept.iter().map(|k| k.name.as_str()).collect();
        for ((name, c), numbers) in compiled.iter().zip(&numbers) {
            let plan = Planner::plan(name, &c.graph, &c.lowered, numbers, &names, &mut constants, &self.sources);
            entries.push(plan?);
        }
        Ok(Model {
            name: model.name,
            stored: model.stored,
            rules: model.rules,
            entries,
            kept: initial(&kept, &mut constants),
            import: self.import.clone(),
            constants,
            code,
            compiled: compiled.into_iter().map(|(_, c)| c).collect(),
            stages: clock.stages,
        })
    }

    /// What Cranelift makes is for all machines, so that only `isa` says what a program needs.
    pub(crate) fn module() -> Result<cpu::Module, Error> {
        cpu::Module::baseline().map_err(|e| Error::Defect(e.to_string()))
    }

    /// An entry after the passes, and its kernels unless `stop` comes before them.
    pub(crate) fn lowered(
        &self,
        entry: dsl::Entry,
        kept: &[Stored],
        module: &cpu::Module,
        stop: Option<&str>,
        after: &mut dyn FnMut(&str, &str, &Graph),
        clock: &mut Clock,
    ) -> Result<Compiled, Error> {
        let changing = |name: &str| kept.iter().any(|k| k.name == name);
        let mut graph = entry.graph;
        after("elaborate", &entry.name, &graph);
        let mut cx = self.fuel.map_or_else(Cx::default, Cx::with_fuel);
        cx.channels_last = matches!(self.target, Target::Cpu(_));
        let ran = passes::run(&mut graph, &mut cx, stop, &mut |pass, graph, time| {
            clock.add(pass.name, time);
            after(pass.name, &entry.name, graph);
        });
        ran.map_err(|e| Error::Defect(e.to_string()))?;
        if stop.is_some() && graph.groups.is_empty() {
            return Ok(Compiled { graph, lowered: Lowered::default() });
        }
        let target = self.target.of_schedules();
        let lowered = clock.time("lower", || match &self.target {
            Target::Cpu(_) => lower::lower(&graph, &target, &changing, &Cpu(module)),
            Target::Cuda(_) => lower::lower(&graph, &target, &changing, &Cuda),
        });
        let lowered = lowered.map_err(|e| self.unsupported(&graph, e))?;
        Ok(Compiled { graph, lowered })
    }

    /// Machine code of all kernels, and of entries that run those of `numbers`.
    fn emit(
        &self,
        mut module: cpu::Module,
        isa: Isa,
        kernels: &[&LoweredKernel<Function>],
        compiled: &[(String, Compiled)],
        numbers: &[Vec<usize>],
    ) -> Result<Code, Error> {
        let defect = |e: cpu::x86::EmitError| Error::Defect(e.to_string());
        let mut libraries = native::Libraries::new(isa);
        for (index, kernel) in kernels.iter().enumerate() {
            let code = match kernel {
                LoweredKernel::Loops(loops) => &loops.code,
                LoweredKernel::Routine(routine) => &routine.code,
                LoweredKernel::Extern(external, operands) => {
                    let library = libraries.of(external)?;
                    module.external(library, &native::call(external, *operands)).map_err(defect)?;
                    continue;
                }
            };
            match code {
                Function::Vectors(function) => {
                    let made = module.kernel(function, isa);
                    made.map_err(|e| self.no_code(compiled, numbers, index, e.to_string()))?
                }
                Function::Scalars(function) => module.scalar_kernel((**function).clone()),
                Function::Routine(helper) => module.routine(*helper),
                Function::Cuda(_) => return Err(Error::Defect("a kernel for a CPU is none".into())),
            };
        }
        for ((_, c), numbers) in compiled.iter().zip(numbers) {
            let step = |step: &Step| match step {
                Step::Launch(launch) => Some(EntryStep::Kernel(numbers[launch.kernel])),
                Step::Loop(around) => {
                    let moves = around.moves.iter().map(|m| (m.step, m.slot)).collect();
                    Some(EntryStep::Loop { steps: around.steps, moves })
                }
                Step::Size(_) => None,
            };
            // Where a size is read between kernels, the engine runs them one by one.
            let steps: Vec<EntryStep> = c.lowered.steps.iter().map(step).collect::<Option<_>>().unwrap_or_default();
            module.entry(&steps).map_err(defect)?;
        }
        match self.jit {
            true => module.finish_by_jit().map_err(defect),
            false => module.blob().map_err(defect)?.map().map_err(Error::Memory),
        }
    }

    fn unsupported(&self, graph: &Graph, error: LowerError) -> Error {
        match &error {
            LowerError::Unsupported { value, .. } => {
                let place = self.sources.place(graph.node(*value).origin.span);
                Error::Unsupported { place, message: error.to_string() }
            }
            LowerError::Schedule { .. } => Error::Defect(error.to_string()),
        }
    }

    fn no_code(&self, compiled: &[(String, Compiled)], numbers: &[Vec<usize>], index: usize, reason: String) -> Error {
        for ((_, c), numbers) in compiled.iter().zip(numbers) {
            let Some(own) = numbers.iter().position(|n| *n == index) else { continue };
            let step = c.lowered.steps.iter().filter_map(Step::launch).find(|s| s.kernel == own);
            if let Some(step) = step {
                let place = self.sources.place(step.origin.span);
                let kernel = c.lowered.kernels[own].loops().map_or(String::new(), |l| l.kernel.to_string());
                return Error::Unsupported { place, message: format!("{reason}, needed by\n{kernel}") };
            }
        }
        Error::Defect(reason)
    }
}

/// Storage that changes from call to call: caches, and what some entry updates.
pub(crate) fn kept(model: &dsl::Model) -> Vec<Stored> {
    let updated = |name: &str| {
        model.entries.iter().any(|e| e.graph.updates.iter().any(|(i, _)| e.graph.operands[*i].name == name))
    };
    let changing = |s: &&Stored| s.storage == Storage::Cache || updated(&s.name);
    model.stored.iter().filter(changing).cloned().collect()
}

/// What each starts as: its weights, which become constants, or zeros.
fn initial(kept: &[Stored], constants: &mut Vec<Constant>) -> Vec<engine::Kept> {
    let start = |stored: &Stored| {
        let dims: Option<Vec<usize>> = stored.ty.dims.iter().map(|d| d.as_int().map(|n| n as usize)).collect();
        let dims = dims.filter(|_| stored.storage != Storage::Cache)?;
        let content = Content::Stored(stored.name.clone());
        constants.push(Constant { content, elem: stored.ty.elem, dims, layout: None });
        Some(constants.len() - 1)
    };
    let initial: Vec<Option<usize>> = kept.iter().map(start).collect();
    kept.iter().zip(initial).map(|(k, initial)| engine::Kept { name: k.name.clone(), initial }).collect()
}

/// The model whose only entry is a graph.
pub(crate) fn model_of(graph: Graph) -> dsl::Model {
    let stored = graph.operands.iter().filter(|o| o.storage != Storage::Input);
    let stored = stored.map(|o| Stored {
        name: o.name.clone(),
        storage: o.storage,
        ty: graph.ty(o.value).clone(),
        span: graph.node(o.value).origin.span,
    });
    let (name, stored) = (graph.name.clone(), stored.collect());
    dsl::Model { name: name.clone(), entries: vec![dsl::Entry { name, graph }], stored, rules: BTreeMap::new() }
}

#[derive(Default)]
pub(crate) struct Clock {
    stages: Vec<Stage>,
}

impl Clock {
    fn time<T>(&mut self, name: &str, f: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = f();
        self.add(name, start.elapsed());
        result
    }

    fn add(&mut self, name: &str, time: Duration) {
        match self.stages.iter_mut().find(|s| s.name == name) {
            Some(stage) => stage.time += time,
            None => self.stages.push(Stage { name: name.into(), time }),
        }
    }
}

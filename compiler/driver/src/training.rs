//! A `train` block as a trainer: one program of steps and metrics, first values, data and rules.

use crate::compile::{Clock, Compiler, model_of};
use crate::error::Error;
use crate::session::seed_engine;
use data::{Source, Stage, Table};
use dsl::{Entry, Provided, Setting, Stored, Training};
use graph::{Graph, Storage};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensor::{Elem, FileError, Tensor};
use train::{Extra, Kept, Metric, Rule, State, Step, Trainer};

/// How to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// At least 1; any number gives the same bits.
    pub threads: usize,
    /// Of first values, of the order of examples, and of random numbers in steps.
    pub seed: u64,
    /// Where data files are, if not beside the model.
    pub data: Option<PathBuf>,
}

impl Compiler {
    /// The `train` block called `name`, or the only one, compiled and with its data read.
    ///
    /// ```
    /// let options = nnc::TrainOptions { threads: 1, seed: 0, data: None };
    /// let mut trainer = nnc::compile("../../dsl-examples/digits.nn")?.trainer(None, &options)?;
    /// trainer.epochs = Some(2);
    /// let mut losses = vec![];
    /// let stop = std::sync::atomic::AtomicBool::new(false);
    /// trainer.run(&stop, &mut |_, event| {
    ///     if let nnc::train::Event::Epoch { losses: each, .. } = event {
    ///         losses.push(each[0].1);
    ///     }
    ///     Ok(())
    /// })?;
    /// assert!(losses[1] < losses[0]);
    /// let file = std::env::temp_dir().join("nnc-doc-digits.safetensors");
    /// trainer.save_weights(&file)?; // for `Model::load`
    /// # Ok::<(), nnc::Error>(())
    /// ```
    pub fn trainer(mut self, name: Option<&str>, options: &TrainOptions) -> Result<Trainer, Error> {
        let (_, blocks) = self.check()?;
        let training = choose(blocks, name)?;
        let mut reader =
            Reader { compiler: &self, folder: self.folder(), data: options.data.as_deref(), tables: HashMap::new() };
        let mut sources = vec![];
        for data in training.steps.iter().map(|s| &s.data).chain(training.metrics.iter().map(|m| &m.data)) {
            sources.push(reader.source(data)?);
        }
        let first = self.first_values(&training, options.seed)?;
        self.assemble(training, sources, first, options)
    }

    /// What each stored tensor starts as.
    fn first_values(&self, training: &Training, seed: u64) -> Result<HashMap<String, Tensor>, Error> {
        let model = self.finish(model_of(training.initial.clone()), None, &mut |_, _, _| {}, Clock::default())?;
        let program = model.with(&mut |name| Err(Error::Defect(format!("a first value depends on `{name}`"))))?;
        let mut session = program.session(1);
        session.seed(seed);
        let values = session.call(&training.initial.name, &[])?;
        let names = training.initial.outputs.iter().map(|(name, _)| name.clone());
        names.zip(values).map(|(name, value)| Ok((name.clone(), whole(training, &name, value)?))).collect()
    }

    fn assemble(
        &self,
        training: Training,
        sources: Vec<Source>,
        first: HashMap<String, Tensor>,
        options: &TrainOptions,
    ) -> Result<Trainer, Error> {
        let graphs = training.steps.iter().map(|s| &s.graph).chain(training.metrics.iter().map(|m| &m.graph));
        let entries = graphs.map(|graph| Entry { name: graph.name.clone(), graph: graph.clone() }).collect();
        let model = dsl::Model {
            name: training.name.clone(),
            entries,
            stored: training.stored.clone(),
            rules: BTreeMap::new(),
        };
        let model = self.finish(model, None, &mut |_, _, _| {}, Clock::default())?;
        let value =
            |name: &str| first.get(name).cloned().ok_or_else(|| Error::Defect(format!("`{name}` has no first value")));
        let program = model.with(&mut |name| value(name))?;
        let (mut kept, mut frozen) = (vec![], vec![]);
        for stored in &training.stored {
            let of_model = stored.storage != Storage::Cache && !stored.is_beside_a_parameter();
            match model.kept.iter().any(|k| k.name == stored.name) {
                true => kept.extend(stored.shape().map(|shape| Kept {
                    name: stored.name.clone(),
                    elem: stored.ty.elem,
                    shape,
                    of_model,
                })),
                false if of_model => frozen.push((stored.name.clone(), value(&stored.name)?)),
                false => {}
            }
        }
        // Schedules are rules too; one that several steps use is one rule.
        let mut rules: Vec<(diag::Span, Rule)> = vec![];
        for provided in &training.rules {
            rules.push((provided.span, rule(provided)?));
        }
        let mut steps = vec![];
        let mut sources = sources.into_iter();
        for (entry, step) in training.steps.iter().enumerate() {
            let mut extras = vec![];
            for operand in step.graph.operands.iter().filter(|o| o.storage == Storage::Input) {
                let schedule = step.provided.iter().find(|(name, _)| *name == operand.name).map(|(_, p)| p);
                extras.extend(match (operand.name.as_str(), schedule) {
                    (dsl::STEP, _) => Some(Extra::Updates),
                    (dsl::LAST, _) => Some(Extra::Last),
                    (_, Some(schedule)) => {
                        let known = rules.iter().position(|(span, _)| *span == schedule.span);
                        if known.is_none() {
                            rules.push((schedule.span, rule(schedule)?));
                        }
                        Some(Extra::Rate { rule: known.unwrap_or(rules.len() - 1) })
                    }
                    // A field of the batch.
                    (_, None) => None,
                });
            }
            steps.push(Step {
                name: if training.steps.len() == 1 { "loss".into() } else { step.name.clone() },
                entry,
                data: self.with_a_batch(sources.next(), &step.data)?,
                extras,
                repeats: step.repeats as usize,
                accumulate: step.accumulate as usize,
            });
        }
        let mut metrics = vec![];
        for (i, metric) in training.metrics.iter().enumerate() {
            let data = self.with_a_batch(sources.next(), &metric.data)?;
            metrics.push(Metric { name: metric.graph.name.clone(), entry: steps.len() + i, data });
        }
        let mut session = engine::Session::new(program.inner.clone(), options.threads);
        seed_engine(&mut session, options.seed);
        let limit = |n: Option<i64>| n.map(|n| n as usize);
        Ok(Trainer {
            session,
            steps,
            metrics,
            rules: rules.into_iter().map(|(_, rule)| rule).collect(),
            kept,
            frozen,
            epochs: limit(training.epochs),
            max_steps: limit(training.max_steps),
            seed: options.seed,
            state: State::default(),
        })
    }

    fn with_a_batch(&self, source: Option<Source>, from: &Provided) -> Result<Source, Error> {
        let source = source.ok_or_else(|| Error::Defect("a step without data".into()))?;
        match source.batches() {
            0 => {
                let (place, rows) = (self.sources().place(from.span), source.table.rows());
                let text = format!("{place}: {rows} examples are too few for one batch; make batches smaller");
                Err(Error::Training(text))
            }
            _ => Ok(source),
        }
    }
}

fn choose(mut blocks: Vec<Training>, name: Option<&str>) -> Result<Training, Error> {
    let names: Vec<String> = blocks.iter().map(|b| format!("`{}`", b.name)).collect();
    let found = match (name, blocks.len()) {
        (_, 0) => {
            return Err(Error::Training(
                "this file has no `train` block; `nnc doc Sgd` shows an optimiser for one".into(),
            ));
        }
        (None, 1) => Some(0),
        (None, _) => {
            let text = format!("this file has several `train` blocks, {}: choose one with --train", names.join(", "));
            return Err(Error::Training(text));
        }
        (Some(name), _) => blocks.iter().position(|b| b.name == name),
    };
    let missing = || Error::Training(format!("no `train` block {}; there is {}", name.unwrap_or(""), names.join(", ")));
    found.map(|i| blocks.swap_remove(i)).ok_or_else(missing)
}

/// A first value in the shape of what is stored; a number fills it.
fn whole(training: &Training, name: &str, value: Tensor) -> Result<Tensor, Error> {
    let stored = training.stored.iter().find(|s| s.name == name);
    let shape = stored.and_then(Stored::shape).ok_or_else(|| Error::Defect(format!("`{name}` has no fixed shape")))?;
    if value.shape == shape {
        return Ok(value);
    }
    let bytes = value.bytes.repeat(shape.iter().product());
    Ok(Tensor { elem: value.elem, shape, bytes: bytes[..].into() })
}

fn rule(provided: &Provided) -> Result<Rule, Error> {
    let watch = match provided.get("watch") {
        Some(Setting::Metric(name)) => name.clone(),
        _ => return Err(Error::Defect(format!("`{}` watches no metric", provided.name))),
    };
    let patience = provided.int("patience").unwrap_or(0).max(0) as usize;
    match provided.name.as_str() {
        "early_stop" => match provided.text("best").unwrap_or("max") {
            best @ ("max" | "min") => Ok(Rule::EarlyStop { watch, patience, upwards: best == "max" }),
            other => Err(Error::Training(format!("early_stop: best is \"max\" or \"min\", not \"{other}\""))),
        },
        "plateau" => {
            let number = |name: &str, default: f64| provided.float(name).unwrap_or(default);
            Ok(Rule::Plateau { watch, rate: number("rate", 1.0), factor: number("factor", 0.1), patience })
        }
        other => Err(Error::Training(format!("the rule `{other}` is not one that training knows"))),
    }
}

/// Reads data once, however many steps use it.
struct Reader<'c> {
    compiler: &'c Compiler,
    /// Where the model's file is.
    folder: PathBuf,
    data: Option<&'c Path>,
    tables: HashMap<String, Arc<Table>>,
}

impl Reader<'_> {
    fn source(&mut self, provided: &Provided) -> Result<Source, Error> {
        let count = |name: &str| provided.int(name).unwrap_or(1).max(1) as usize;
        let stage = match provided.name.as_str() {
            "map" => match provided.get("f") {
                Some(Setting::Function(graph)) => Stage::Map(self.function(graph)?),
                _ => return Err(Error::Defect("`map` without a function".into())),
            },
            "shuffle" => Stage::Shuffle { window: count("window") },
            "batch" => Stage::Batch {
                rows: count("rows"),
                drop_last: matches!(provided.get("drop_last"), Some(Setting::Bool(true))),
            },
            "streams" => Stage::Streams { rows: count("rows"), window: count("window") },
            "zip" => return self.zipped(provided),
            _ => return Ok(Source { table: self.table(provided)?, stages: vec![] }),
        };
        let Some(Setting::Provided(of)) = provided.get("source") else {
            return Err(Error::Defect(format!("`{}` without a source", provided.name)));
        };
        let mut source = self.source(of)?;
        source.stages.push(stage);
        Ok(source)
    }

    fn zipped(&mut self, provided: &Provided) -> Result<Source, Error> {
        let place = self.compiler.sources().place(provided.span);
        let mut fields = vec![];
        for name in ["first", "second"] {
            let Some(Setting::Provided(of)) = provided.get(name) else {
                return Err(Error::Defect("`zip` without a source".into()));
            };
            let Source { table, stages } = self.source(of)?;
            if !stages.is_empty() {
                let text = format!("{place}: zip takes files as they are; shuffle, map and batch come after it");
                return Err(Error::Training(text));
            }
            fields.extend(table.fields().iter().cloned());
        }
        let table = Table::new(fields, Path::new(&place))?;
        Ok(Source { table: Arc::new(table), stages: vec![] })
    }

    /// A function of examples as a program.
    fn function(&self, graph: &Graph) -> Result<Arc<engine::Program>, Error> {
        let model = self.compiler.finish(model_of(graph.clone()), None, &mut |_, _, _| {}, Clock::default())?;
        let program = model.with(&mut |name| Err(Error::Defect(format!("a function of examples reads `{name}`"))))?;
        Ok(program.inner.clone())
    }

    fn table(&mut self, provided: &Provided) -> Result<Arc<Table>, Error> {
        let what = format!("{:?}", (&provided.name, &provided.arguments));
        if let Some(known) = self.tables.get(&what) {
            return Ok(known.clone());
        }
        let table = self.read(provided).map_err(|e| match e {
            Error::File(e) => {
                let place = self.compiler.sources().place(provided.span);
                let help = match self.data {
                    Some(folder) => format!("files are looked for in {}", folder.display()),
                    None => "files are looked for beside the model; --data DIR names another folder".into(),
                };
                Error::Training(format!("{e}\n  read by {place}; {help}"))
            }
            e => e,
        })?;
        let table = Arc::new(table);
        self.tables.insert(what, table.clone());
        Ok(table)
    }

    fn read(&self, provided: &Provided) -> Result<Table, Error> {
        let file = || self.path(provided.text("file").unwrap_or(""));
        let elem = |default| match provided.get("type") {
            Some(Setting::Elem(elem)) => *elem,
            _ => default,
        };
        let ints = |name: &str| match provided.get(name) {
            Some(Setting::List(items)) => items.iter().filter_map(Setting::as_int).map(|n| n as usize).collect(),
            _ => vec![],
        };
        let split = provided.text("split").unwrap_or("train");
        let read: Result<Table, FileError> = match provided.name.as_str() {
            "csv" => {
                let columns: Vec<String> = match provided.get("input") {
                    Some(Setting::List(items)) => items.iter().filter_map(Setting::as_text).map(String::from).collect(),
                    _ => vec![],
                };
                Table::csv(&file(), &columns, provided.text("target").unwrap_or(""))
            }
            "npy" => Table::npy(&file(), provided.text("array").unwrap_or(""), elem(Elem::F32), &ints("item")),
            "mnist" => Table::mnist(&self.data_set("mnist"), split),
            "cifar10" => Table::cifar10(&self.data_set("cifar-10-batches-bin"), split),
            "tokens" => Table::tokens(&file(), elem(Elem::U16)),
            other => {
                let place = self.compiler.sources().place(provided.span);
                let text = format!("{place}: `{other}` is not read yet; csv, npy, mnist, cifar10 and tokens are");
                return Err(Error::Training(text));
            }
        };
        Ok(read?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.unwrap_or(&self.folder).join(name)
    }

    /// The folder of a known data set: below `data` beside the model, or in the folder that the user names or one below.
    fn data_set(&self, name: &str) -> PathBuf {
        match self.data {
            Some(folder) if folder.join(name).is_dir() => folder.join(name),
            Some(folder) => folder.into(),
            None => self.folder.join("data").join(name),
        }
    }
}

//! Inputs from the command line, and tensors made for timing.

use crate::values::Wanted;
use crate::{Failure, Source, pair};
use nnc::{Cache, Elem, Entry, Formula, Model, Port, Program, Symbol, Tensor, Values};
use std::path::PathBuf;

/// Where weights come from.
#[derive(clap::Args, Clone)]
pub struct Weights {
    /// Weights, safetensors files
    #[arg(long, value_name = "FILE")]
    weights: Vec<PathBuf>,
    /// Which `weights` block of the model to apply
    #[arg(long, value_name = "NAME")]
    rules: Option<String>,
}

impl Weights {
    /// The values that are given; a model that saves nothing needs none.
    pub fn values(&self, model: &Model) -> Result<Values, Failure> {
        let saved = |s: &nnc::Stored| s.storage != nnc::Storage::Cache;
        if self.weights.is_empty() && model.own_values().is_none() && model.stored.iter().any(saved) {
            let text = format!("error: {} has parameters; give their values with --weights FILE", model.name);
            return Err(Failure(text));
        }
        Ok(model.values(&self.weights, self.rules.as_deref())?)
    }
}

/// Where weights and inputs come from.
#[derive(clap::Args, Clone)]
pub struct Given {
    #[command(flatten)]
    weights: Weights,
    /// Which entry; the first if not given
    #[arg(long)]
    pub entry: Option<String>,
    /// An input: a file (.npy; .png or .jpg, pixels from 0 to 1; .wav, samples from -1 to 1), numbers such as
    /// `[[1, 2], [3, 4]]`, a text in double quotes for its bytes, `random` or `zeros`
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub input: Vec<(String, String)>,
    /// Resize pictures to the height and width that their input has
    #[arg(long)]
    pub resize: bool,
    /// A size that inputs made by `random` and `zeros` need
    #[arg(long, value_name = "NAME=N", value_parser = size)]
    pub size: Vec<(String, usize)>,
    /// Threads, at least 1
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Seed of random inputs and weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

fn size(text: &str) -> Result<(String, usize), String> {
    let (name, n) = pair(text)?;
    match n.parse() {
        Ok(n) if n > 0 => Ok((name, n)),
        _ => Err(format!("expected a size of at least 1, got `{n}`")),
    }
}

/// Which entry has a name.
pub fn entry_index(entries: &[Entry], name: &str) -> Result<usize, Failure> {
    entries.iter().position(|e| e.name == name).ok_or_else(|| {
        let known: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        Failure(format!("error: no entry `{name}`; this model has {}", known.join(", ")))
    })
}

/// A program, and the model and values that it was made from, unless it comes from a file.
pub struct Made {
    pub program: Program,
    pub from: Option<(Model, Values)>,
}

impl Given {
    /// The program, compiled, from its file or from this user's cache; weights that are not given are random if `random`
    /// says so.
    pub fn program(&self, source: &Source, random: bool, cached: bool) -> Result<Made, Failure> {
        if nnc::is_program(&source.file) {
            let file = source.file.display();
            let compiling = source.model.is_some() || !source.define.is_empty() || source.target_cpu.is_some();
            let compiling = compiling || source.target.is_some();
            if compiling || !self.weights.weights.is_empty() || self.weights.rules.is_some() {
                let options = "--model, -D, --target, --target-cpu, --weights and --rules";
                return Err(Failure(format!("error: {file} is compiled; {options} are for `nnc compile`")));
            }
            return Ok(Made { program: Program::open(&source.file)?, from: None });
        }
        let compiler = source.compiler()?;
        let model = match Cache::of_user().filter(|_| cached) {
            Some(cache) => compiler.cache(cache).build()?,
            None => compiler.build()?,
        };
        let values = match random && self.weights.weights.is_empty() && model.own_values().is_none() {
            true => Values::Random { seed: self.seed },
            false => self.weights.values(&model)?,
        };
        Ok(Made { program: model.with_values(&values)?, from: Some((model, values)) })
    }

    /// Which entry of a program is chosen.
    pub fn entry(&self, program: &Program) -> Result<usize, Failure> {
        self.entry.as_ref().map_or(Ok(0), |name| entry_index(program.entries(), name))
    }

    /// The value of one input; its dims become known sizes.
    fn value(&self, text: &str, port: &Port, entry: &Entry, sizes: &mut [Option<usize>]) -> Result<Tensor, Failure> {
        let wanted = Wanted { port, symbols: &entry.symbols, sizes, resize: self.resize };
        let tensor = wanted.read(text)?;
        for (dim, n) in port.dims.iter().zip(&tensor.shape) {
            if let Formula::Symbol(s) = dim {
                sizes[*s].get_or_insert(*n);
            }
        }
        Ok(tensor)
    }

    /// A tensor for each input of the entry; those not given are random if `random` says so.
    pub fn tensors(&self, entry: &Entry, random: bool) -> Result<Vec<Tensor>, Failure> {
        if let Some((name, _)) = self.input.iter().find(|(n, _)| !entry.inputs.iter().any(|p| p.name == *n)) {
            let known: Vec<&str> = entry.inputs.iter().map(|p| p.name.as_str()).collect();
            let text = format!("error: `{}` has no input `{name}`; it takes {}", entry.name, known.join(", "));
            return Err(Failure(text));
        }
        let mut sizes: Vec<Option<usize>> =
            entry.symbols.iter().map(|s| self.size.iter().find(|(n, _)| *n == s.name).map(|(_, v)| *v)).collect();
        if let Some((name, _)) = self.size.iter().find(|(n, _)| !entry.symbols.iter().any(|s| s.name == *n)) {
            let known: Vec<&str> = entry.symbols.iter().map(|s| s.name.as_str()).collect();
            let text = format!("error: `{}` has no size `{name}`; it has {}", entry.name, known.join(", "));
            return Err(Failure(text));
        }
        let given = |port: &Port| self.input.iter().find(|(n, _)| *n == port.name).map(|(_, v)| v.as_str());
        let mut read: Vec<Option<Tensor>> = vec![];
        for port in &entry.inputs {
            read.push(match given(port) {
                Some("random" | "zeros") | None => None,
                Some(text) => Some(self.value(text, port, entry, &mut sizes)?),
            });
        }
        // Of an input that is a size, `--size` gives the value.
        let value = |input: usize| {
            let mut symbols = entry.symbols.iter().zip(&sizes);
            symbols.find_map(|(s, n)| if s.chosen.is_by(input) { *n } else { None })
        };
        let mut state = self.seed ^ 0x2545f4914f6cdd1d;
        let made = entry.inputs.iter().zip(read).enumerate().map(|(i, (port, tensor))| match (tensor, given(port)) {
            (Some(tensor), _) => Ok(tensor),
            (None, _) if let Some(n) = value(i) => Ok(Tensor::from_f64(port.elem, &[], [n as f64])),
            (None, None) if !random => {
                Err(Failure(format!("error: input `{}` is not given: --input {}=FILE", port.name, port.name)))
            }
            (None, kind) => make(port, &sizes, &entry.symbols, kind == Some("zeros"), &mut state),
        });
        made.collect()
    }
}

fn make(
    port: &Port,
    sizes: &[Option<usize>],
    symbols: &[Symbol],
    zeros: bool,
    state: &mut u64,
) -> Result<Tensor, Failure> {
    let known: Vec<i64> = sizes.iter().map(|s| s.map_or(1, |n| n as i64)).collect();
    let unknown = port.dims.iter().find_map(|d| match d {
        Formula::Symbol(s) if sizes[*s].is_none() => Some(&symbols[*s].name),
        _ => None,
    });
    if let Some(name) = unknown {
        return Err(Failure(format!("error: input `{}` needs a size: --size {name}=N", port.name)));
    }
    let size = |d: &Formula| d.evaluate(&known).and_then(|n| usize::try_from(n).ok());
    let shape: Option<Vec<usize>> = port.dims.iter().map(size).collect();
    let tensor = shape.and_then(|shape| Tensor::try_zeros(port.elem, &shape));
    let Some(mut tensor) = tensor else {
        let text = format!("error: input `{}` is too large for this machine; give smaller sizes", port.name);
        return Err(Failure(text));
    };
    if zeros {
        return Ok(tensor);
    }
    let mut unit = || {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*state >> 40) as f64 / (1u64 << 24) as f64
    };
    let next = || match port.elem {
        Elem::Bool => 1.0,
        e if e.is_float() => unit() * 2.0 - 1.0,
        // Small enough for any table.
        _ => (unit() * 2.0).floor(),
    };
    tensor.fill(std::iter::repeat_with(next));
    Ok(tensor)
}

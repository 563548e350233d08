//! Weights and other constants: from a file's tensors to the layouts that kernels read.

use crate::compile::Model;
use crate::error::Error;
use crate::session::Session;
use dsl::Stored;
use dsl::weights::{Adapt, FileTensor, Rules, Source};
use graph::Storage;
use kernel::schedule::{LayoutDim, Part};
pub use lower::Content;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tensor::safetensors::Weights;
use tensor::{AlignedBytes, Elem, Tensor};

/// A constant as one kernel reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    pub content: Content,
    #[serde(with = "engine::plan::as_text")]
    pub elem: Elem,
    pub dims: Vec<usize>,
    /// Row-major if there is none.
    pub layout: Option<Vec<LayoutDim>>,
}

/// A model with its weights: ready to run, shared by sessions.
#[derive(Clone)]
pub struct Program {
    pub(crate) inner: Arc<engine::Program>,
}

impl Program {
    /// A session that runs on `threads` threads.
    pub fn session(&self, threads: usize) -> Session {
        Session::new(self.inner.clone(), threads)
    }

    /// What can be called, in the order of the source.
    pub fn entries(&self) -> &[engine::Entry] {
        &self.inner.entries
    }

    /// The model's.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What the program needs: an instruction set, or GPUs of some architectures.
    pub fn target(&self) -> String {
        self.inner.kernels.target()
    }

    /// Bytes of code.
    pub fn code_bytes(&self) -> usize {
        self.inner.kernels.bytes()
    }

    /// Writes the program with its weights to a file that [`Program::open`] reads, whole or not at all.
    ///
    /// ```
    /// let model = nnc::compile("../../dsl-examples/digits.nn")?.build()?;
    /// let file = std::env::temp_dir().join("nnc-doc-digits.nnc");
    /// model.load(&["../../dsl-examples/data/digits.safetensors"], None)?.save(&file)?;
    /// // Later, without the compiler, the source and the weights:
    /// let seven = nnc::picture::read("../../dsl-examples/data/seven.png".as_ref(), 1, None)?;
    /// let probability = nnc::Program::open(&file)?.session(1).call("forward", &[seven])?[0].to_f64();
    /// assert!(probability[7] > 0.99);
    /// # Ok::<(), nnc::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        Ok(self.inner.save(path.as_ref())?)
    }

    /// A program from a file. The file holds machine code: trust it as you would an executable.
    pub fn open(path: impl AsRef<Path>) -> Result<Program, Error> {
        Ok(Program { inner: Arc::new(engine::Program::open(path.as_ref())?) })
    }

    /// Bytes of constants in the layouts that kernels read.
    pub fn constant_bytes(&self) -> usize {
        self.inner.constants.iter().map(|c| c.len).sum()
    }
}

/// Where the values of what a model stores come from.
pub enum Values {
    /// Tensors of files.
    Files {
        /// The open files.
        files: Vec<Weights>,
        /// Where in them each tensor of the model is.
        sources: Vec<Source>,
    },
    /// For measuring speed, and for comparing with another implementation: parameters uniform in ±1/√n, n the elements of
    /// one row of the first axis, and states, which may be variances, in 0.5 to 1.5. A linear congruential generator
    /// that starts from seed and name; `scripts/random_weights.py` is the same in numpy.
    Random {
        /// Equal seeds give equal values.
        seed: u64,
    },
    /// A file of ONNX, which has both model and weights.
    Import(Imported),
}

/// An open file of ONNX.
pub struct Imported(pub(crate) Arc<onnx::Import>);

impl Values {
    /// The value of what is stored under a name.
    pub fn of(&self, stored: &Stored) -> Result<Tensor, Error> {
        match self {
            Values::Files { files, sources } => {
                let name = &stored.name;
                let source = sources.iter().find(|s| s.stored == *name);
                let source = source.ok_or_else(|| Error::Defect(format!("no source for `{name}`")))?;
                let mut parts = source.from.iter().map(|from| read(files, from)).collect::<Result<Vec<_>, _>>()?;
                for adapt in &source.adapt {
                    parts = vec![adapted(adapt, parts)];
                }
                parts.pop().ok_or_else(|| Error::Defect(format!("`{name}` comes from nothing")))
            }
            Values::Random { seed } => random(stored, *seed),
            Values::Import(Imported(import)) => import.tensor(&stored.name).map_err(|e| Error::Weights(e.to_string())),
        }
    }
}

/// Numbers that follow from the seed and the name.
fn random(stored: &Stored, seed: u64) -> Result<Tensor, Error> {
    let name = &stored.name;
    let shape = stored.shape().ok_or_else(|| Error::Defect(format!("`{name}` has no fixed shape")))?;
    let row: usize = if shape.len() > 1 { shape[1..].iter().product() } else { shape.iter().product() };
    let bound = 1.0 / (row.max(1) as f64).sqrt();
    let mut state = name.bytes().fold(seed ^ 0x9e3779b97f4a7c15, |h, b| (h ^ b as u64).wrapping_mul(0x100000001b3));
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let unit = (state >> 40) as f64 / (1u64 << 24) as f64;
        if stored.storage == Storage::State { 0.5 + unit } else { (unit * 2.0 - 1.0) * bound }
    };
    let bytes = tensor::size_in_bytes(stored.ty.elem, &shape);
    let tensor = Tensor::try_zeros(stored.ty.elem, &shape);
    let mut tensor = tensor.ok_or_else(|| too_large(&format!("`{name}`"), bytes))?;
    tensor.fill(std::iter::repeat_with(next));
    Ok(tensor)
}

impl Model {
    /// The values of what is stored in safetensors files, by the rules of the `weights` block called `rules`; without
    /// one, by the only block, or by equal names. Without files those that the model brings, as one of ONNX does.
    pub fn values(&self, files: &[impl AsRef<Path>], rules: Option<&str>) -> Result<Values, Error> {
        if let (Some(own), true) = (self.own_values(), files.is_empty()) {
            return Ok(own);
        }
        let files = files.iter().map(|f| Weights::open(f.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let sources = assign(&self.name, &self.stored, &self.rules, &files, rules)?;
        Ok(Values::Files { files, sources })
    }

    /// The program with the weights of safetensors files: [`Model::values`] and [`Model::with_values`].
    pub fn load(&self, files: &[impl AsRef<Path>], rules: Option<&str>) -> Result<Program, Error> {
        self.with_values(&self.values(files, rules)?)
    }

    /// The program with random weights, for measuring speed.
    pub fn with_random_weights(&self, seed: u64) -> Result<Program, Error> {
        self.with_values(&Values::Random { seed })
    }

    /// The program with these values.
    pub fn with_values(&self, values: &Values) -> Result<Program, Error> {
        self.with(&mut |name| {
            let stored = self.stored.iter().find(|s| s.name == name);
            values.of(stored.ok_or_else(|| Error::Defect(format!("no parameter `{name}`")))?)
        })
    }

    /// The program with the tensor that `stored` gives for each parameter, state included.
    pub fn with(&self, stored: &mut dyn FnMut(&str) -> Result<Tensor, Error>) -> Result<Program, Error> {
        let mut places = vec![];
        let mut total = 0usize;
        for constant in &self.constants {
            let len = constant.packed_len().ok_or_else(|| too_large(&self.name, None))?;
            places.push((total, len));
            // A line apart, so that reads past an end stay inside.
            let room = len.checked_next_multiple_of(LINE).and_then(|n| n.checked_add(LINE));
            total = room.and_then(|n| total.checked_add(n)).ok_or_else(|| too_large(&self.name, None))?;
        }
        let mut memory = AlignedBytes::try_zeroed(total).ok_or_else(|| too_large(&self.name, Some(total)))?;
        for (constant, (offset, len)) in self.constants.iter().zip(&places) {
            let tensor = match &constant.content {
                Content::Values(values) => Tensor::from_f64(constant.elem, &constant.dims, values.iter().copied()),
                Content::Stored(name) => {
                    let tensor = stored(name)?;
                    if tensor.elem.is_float() != constant.elem.is_float() {
                        let text =
                            format!("`{name}` holds {} in the file; the model needs {}", tensor.elem, constant.elem);
                        return Err(Error::Weights(text));
                    }
                    if tensor::size_in_bytes(tensor.elem, &constant.dims) != Some(tensor.bytes.len()) {
                        let (shape, bytes) = (&tensor.shape, tensor.bytes.len());
                        let text =
                            format!("`{name}` must have shape {:?}, got {shape:?} in {bytes} bytes", constant.dims);
                        return Err(Error::Weights(text));
                    }
                    if tensor.elem == constant.elem { tensor } else { tensor.cast(constant.elem) }
                }
            };
            pack(&tensor.bytes, constant, &mut memory[*offset..*offset + *len]);
        }
        let place = |(constant, (offset, len)): (&Constant, (usize, usize))| {
            let name = match &constant.content {
                Content::Stored(name) => name.clone(),
                Content::Values(_) => String::new(),
            };
            engine::Constant { name, offset, len }
        };
        let constants = self.constants.iter().zip(places).map(place).collect();
        let (name, entries) = (self.name.clone(), self.entries.clone());
        let (kept, code) = (self.kept.clone(), self.code.clone());
        let inner = engine::Program::new(name, entries, constants, kept, memory, code);
        Ok(Program { inner: Arc::new(inner) })
    }
}

/// Where each of `stored` lies in safetensors files, by the rules of the `weights` block called `chosen`; without one,
/// by the only block, or by equal names.
pub fn sources(
    model: &str,
    stored: &[Stored],
    rules: &BTreeMap<String, Rules>,
    files: &[impl AsRef<Path>],
    chosen: Option<&str>,
) -> Result<Vec<Source>, Error> {
    let files = files.iter().map(|f| Weights::open(f.as_ref())).collect::<Result<Vec<_>, _>>()?;
    assign(model, stored, rules, &files, chosen)
}

fn too_large(model: &str, bytes: Option<usize>) -> Error {
    let bytes = bytes.map_or("more bytes than can be counted".into(), |n| format!("{n} bytes"));
    Error::TooLarge { model: model.into(), bytes }
}

fn assign(
    model: &str,
    stored: &[Stored],
    rules: &BTreeMap<String, Rules>,
    files: &[Weights],
    chosen: Option<&str>,
) -> Result<Vec<Source>, Error> {
    let rules = choose(model, rules, chosen)?;
    let mut tensors = vec![];
    for file in files {
        for (name, shape, _) in file.entries() {
            tensors.push(FileTensor { name, shape: shape.iter().map(|n| *n as i64).collect() });
        }
    }
    let names: Vec<String> = files.iter().map(|f| f.path().display().to_string()).collect();
    let refused =
        |mismatch| Error::Mismatch { files: names.join(", "), model: model.into(), mismatch: Box::new(mismatch) };
    rules.assign(&tensors, stored).map_err(refused)
}

fn choose(model: &str, rules: &BTreeMap<String, Rules>, chosen: Option<&str>) -> Result<Rules, Error> {
    let known = || rules.keys().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    match chosen {
        Some(name) => rules.get(name).cloned().ok_or_else(|| {
            let known = if rules.is_empty() { "none".into() } else { known() };
            Error::Weights(format!("no `weights` block `{name}` for {model}; it has {known}"))
        }),
        None if rules.len() > 1 => {
            Err(Error::Weights(format!("{model} has several `weights` blocks, {}: name one", known())))
        }
        None => Ok(rules.values().next().cloned().unwrap_or_default()),
    }
}

fn read(files: &[Weights], name: &str) -> Result<Tensor, Error> {
    let found = files.iter().find_map(|f| f.get(name));
    let unknown = || Error::Weights(format!("`{name}` has elements of a type that nnc does not know"));
    Ok(found.ok_or_else(unknown)?.into())
}

fn adapted(adapt: &Adapt, parts: Vec<Tensor>) -> Tensor {
    let [first, ..] = &parts[..] else { return Tensor::zeros(Elem::F32, &[0]) };
    let size = first.elem.size();
    match adapt {
        Adapt::Reshape(shape) => Tensor { shape: shape.iter().map(|n| *n as usize).collect(), ..first.clone() },
        Adapt::Transpose => {
            let rank = first.shape.len();
            let mut shape = first.shape.clone();
            if rank < 2 {
                return first.clone();
            }
            shape.swap(rank - 2, rank - 1);
            let (rows, columns) = (shape[rank - 1], shape[rank - 2]);
            let mut bytes = Vec::with_capacity(first.bytes.len());
            for matrix in first.bytes.chunks_exact((rows * columns * size).max(1)) {
                for c in 0..columns {
                    for r in 0..rows {
                        let at = (r * columns + c) * size;
                        bytes.extend(&matrix[at..at + size]);
                    }
                }
            }
            Tensor { elem: first.elem, shape, bytes: bytes[..].into() }
        }
        Adapt::Concat(axis) => {
            let mut shape = first.shape.clone();
            shape[*axis] = parts.iter().map(|p| p.shape[*axis]).sum();
            let outer: usize = first.shape[..*axis].iter().product();
            let mut bytes = vec![];
            for i in 0..outer {
                for part in &parts {
                    let chunk = part.bytes.len() / outer;
                    bytes.extend(&part.bytes[i * chunk..(i + 1) * chunk]);
                }
            }
            Tensor { elem: first.elem, shape, bytes: bytes[..].into() }
        }
    }
}

/// Constants start on lines of the cache.
const LINE: usize = 64;

impl Constant {
    /// Extents of the layout, outermost first.
    fn extents(&self, layout: &[LayoutDim]) -> Vec<usize> {
        let each = |d: &LayoutDim| {
            let n = self.dims[d.dim];
            let whole = match d.part {
                Part::Whole => n,
                Part::Div(by) => n.div_ceil(by as usize),
                Part::Mod(by) => by as usize,
            };
            whole + d.pad as usize
        };
        layout.iter().map(each).collect()
    }

    /// Bytes in the layout that the kernel reads, if they can be counted.
    fn packed_len(&self) -> Option<usize> {
        match &self.layout {
            Some(layout) => tensor::size_in_bytes(self.elem, &self.extents(layout)),
            None => tensor::size_in_bytes(self.elem, &self.dims),
        }
    }
}

/// Writes a row-major tensor to `out` in a constant's layout. What the layout rounds up is left as it is, zero.
fn pack(bytes: &[u8], constant: &Constant, out: &mut [u8]) {
    let Some(layout) = &constant.layout else {
        return out.copy_from_slice(bytes);
    };
    if layout.is_empty() {
        return out.copy_from_slice(bytes);
    }
    let extents = constant.extents(layout);
    let mut strides = vec![1usize; constant.dims.len()];
    for d in (0..constant.dims.len().saturating_sub(1)).rev() {
        strides[d] = strides[d + 1] * constant.dims[d + 1];
    }
    let (dims, size) = (&constant.dims, constant.elem.size());
    let mut packer = Packer { layout, extents: &extents, dims, strides: &strides, size, from: bytes, at: 0 };
    packer.fill(0, &mut vec![0; constant.dims.len()], out);
}

struct Packer<'p> {
    layout: &'p [LayoutDim],
    extents: &'p [usize],
    dims: &'p [usize],
    strides: &'p [usize],
    size: usize,
    from: &'p [u8],
    /// Next byte of the result.
    at: usize,
}

impl Packer<'_> {
    /// Fills everything below dim `depth` of the layout; `index` is the logical index so far.
    fn fill(&mut self, depth: usize, index: &mut Vec<usize>, out: &mut [u8]) {
        let dim = &self.layout[depth];
        let step = match dim.part {
            Part::Div(by) => by as usize,
            Part::Whole | Part::Mod(_) => 1,
        };
        if depth + 1 == self.layout.len() {
            return self.run(depth, step, index, out);
        }
        let before = index[dim.dim];
        for i in 0..self.extents[depth] {
            // Padding of a layout lies outside the tensor.
            let inside = i < self.extents[depth] - dim.pad as usize;
            index[dim.dim] = if inside { before + i * step } else { self.dims[dim.dim] };
            self.fill(depth + 1, index, out);
        }
        index[dim.dim] = before;
    }

    /// Fills the innermost dim: elements that lie equally far apart in the tensor.
    fn run(&mut self, depth: usize, step: usize, index: &[usize], out: &mut [u8]) {
        let (dim, size, extent) = (&self.layout[depth], self.size, self.extents[depth]);
        let out = &mut out[self.at..][..extent * size];
        self.at += extent * size;
        if index.iter().zip(self.dims).any(|(i, n)| i >= n) {
            return;
        }
        let left = (self.dims[dim.dim] - index[dim.dim]).div_ceil(step);
        let count = left.min(extent - dim.pad as usize);
        let from = index.iter().zip(self.strides).map(|(i, s)| i * s).sum::<usize>() * size;
        let apart = self.strides[dim.dim] * step * size;
        match apart == size {
            true => out[..count * size].copy_from_slice(&self.from[from..][..count * size]),
            false => {
                let elements = out.chunks_exact_mut(size).take(count);
                elements.enumerate().for_each(|(i, to)| to.copy_from_slice(&self.from[from + i * apart..][..size]));
            }
        }
    }
}

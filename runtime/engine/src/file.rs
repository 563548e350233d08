//! Programs in files: a line that says what it is, a hash of the rest, and the rest.
//!
//! Such a file holds machine code and is as trusted as an executable. What is checked on the way in, before anything is
//! mapped, finds damage and files for other machines; it does not make a stranger's file safe to run.

use crate::code::Blob;
use crate::cuda::CudaKernel;
use crate::formula::Formula;
use crate::isa::Isa;
use crate::plan::{Chosen, Constant, Entry, Kept, Kernels, Launch, Move, Place, PlanBuffer, Program, Step, Symbol};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use tensor::{AlignedBytes, FileError, open_data};

/// The first line; its number changes with the format.
const MAGIC: &[u8] = b"nnc program 8\n";
const HASH: usize = 32;

/// Loops of a plan inside each other, at most.
const MOST_LOOPS: usize = 32;

/// Bytes of scratch for a thread beyond which a plan is not believed.
const MOST_SCRATCH: usize = 1 << 30;

#[derive(Serialize)]
struct Saved<'p> {
    name: &'p str,
    code: SavedCode<'p>,
    entries: &'p [Entry],
    constants: &'p [Constant],
    kept: &'p [Kept],
    memory: &'p [u8],
}

#[derive(Serialize)]
enum SavedCode<'p> {
    Cpu(&'p Blob),
    Cuda(&'p [CudaKernel]),
}

#[derive(Deserialize)]
enum LoadedCode {
    Cpu(Blob),
    Cuda(Vec<CudaKernel>),
}

#[derive(Deserialize)]
struct Loaded<'b> {
    name: String,
    code: LoadedCode,
    entries: Vec<Entry>,
    constants: Vec<Constant>,
    kept: Vec<Kept>,
    #[serde(borrow)]
    memory: &'b [u8],
}

/// Whether a file begins as a program does.
pub fn is_program(path: &Path) -> bool {
    // What comes through a pipe can be read once only, and a program does not.
    let Ok((file, _)) = open_data(path) else { return false };
    let mut start = vec![];
    file.take(MAGIC.len() as u64).read_to_end(&mut start).is_ok() && start == MAGIC
}

impl Program {
    /// Writes everything that running needs to a file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let code = match &self.kernels {
            Kernels::Cpu(code) => SavedCode::Cpu(code.blob()),
            Kernels::Cuda(kernels) => SavedCode::Cuda(kernels),
        };
        let (entries, constants) = (&self.entries[..], &self.constants[..]);
        let saved = Saved { name: &self.name, code, entries, constants, kept: &self.kept, memory: &self.memory[..] };
        let body = postcard::to_stdvec(&saved).map_err(|e| FileError::content(path, e.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(Sha256::digest(&body));
        bytes.extend(body);
        tensor::write_whole(path, &bytes)
    }

    /// Reads what [`Program::save`] wrote. The file holds machine code: trust it as you would an executable.
    pub fn open(path: &Path) -> Result<Program, FileError> {
        let mut bytes = vec![];
        let (mut file, _) = open_data(path)?;
        file.read_to_end(&mut bytes).map_err(|e| FileError::io(path, e))?;
        Program::from_bytes(&bytes).map_err(|e| FileError::content(path, e.to_string()))
    }

    /// A program from the bytes of such a file, for programs that carry their models: `include_bytes!`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, ProgramError> {
        let wrong = |message: String| ProgramError(message);
        let rest = bytes.strip_prefix(MAGIC);
        let rest = rest.ok_or_else(|| wrong("not a program of this version of nnc; compile it anew".into()))?;
        let cut = || wrong("the file is cut short; compile it anew".into());
        let (hash, body) = rest.split_at_checked(HASH).ok_or_else(cut)?;
        if Sha256::digest(body)[..] != *hash {
            let text = "the file is damaged: its content does not match its hash; compile it anew";
            return Err(wrong(text.into()));
        }
        let loaded: Loaded = postcard::from_bytes(body).map_err(|e| wrong(format!("not a program: {e}")))?;
        if let LoadedCode::Cpu(Blob { isa, .. }) = loaded.code
            && isa > Isa::host()
        {
            let here = Isa::host();
            return Err(wrong(format!(
                "the program is for {isa}; this machine has {here}: compile with --target-cpu {here}"
            )));
        }
        loaded.check().map_err(|part| wrong(format!("not a program: {part}")))?;
        let Loaded { name, code, entries, constants, kept, memory } = loaded;
        let kernels = match code {
            LoadedCode::Cpu(blob) => {
                Kernels::Cpu(Arc::new(blob.map().map_err(|e| wrong(format!("its code cannot be mapped: {e}")))?))
            }
            LoadedCode::Cuda(kernels) => Kernels::Cuda(kernels.into()),
        };
        Ok(Program::new(name, entries, constants, kept, AlignedBytes::from(memory), kernels))
    }
}

/// Why bytes are no program that runs here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProgramError(String);

impl Loaded<'_> {
    /// Whether all that is named is there; what is not, if something is not.
    fn check(&self) -> Result<(), String> {
        let sound = match &self.code {
            LoadedCode::Cpu(blob) => blob.is_sound() && blob.entries.len() == self.entries.len(),
            LoadedCode::Cuda(kernels) => kernels.iter().all(CudaKernel::is_sound),
        };
        if !sound || self.entries.is_empty() {
            return Err("its code does not fit its entries".into());
        }
        let inside = |c: &Constant| c.offset.checked_add(c.len).is_some_and(|end| end <= self.memory.len());
        if let Some(constant) = self.constants.iter().find(|c| !inside(c)) {
            return Err(format!("the constant `{}` lies outside of its memory", constant.name));
        }
        if let Some(k) = self.kept.iter().find(|k| k.initial.is_some_and(|c| c >= self.constants.len())) {
            return Err(format!("what `{}` starts as is not there", k.name));
        }
        self.entries.iter().try_for_each(|entry| self.check_entry(entry))
    }

    fn check_entry(&self, entry: &Entry) -> Result<(), String> {
        let name = &entry.name;
        let chosen = |dim: &Formula| !matches!(dim, Formula::Symbol(s) if *s >= entry.symbols.len());
        let ports = entry.inputs.iter().chain(&entry.outputs);
        if let Some(port) = ports.into_iter().find(|p| !p.dims.iter().all(chosen)) {
            return Err(format!("`{}` of `{name}` has a size that is not there", port.name));
        }
        if entry.updates.iter().any(|k| *k >= self.kept.len()) {
            return Err(format!("`{name}` updates what is not there"));
        }
        let unchosen = |s: &&Symbol| match &s.chosen {
            Chosen::ByDims | Chosen::ByStep { .. } => false,
            Chosen::ByValue { input, .. } => {
                entry.inputs.get(*input).is_none_or(|port| !port.elem.is_int() || !port.dims.is_empty())
            }
        };
        if let Some(symbol) = entry.symbols.iter().find(unchosen) {
            return Err(format!("no input of `{name}` chooses {}", symbol.name));
        }
        for (index, buffer) in entry.buffers.iter().enumerate() {
            if !self.has(entry, index, buffer) {
                return Err(format!("`{name}` has a buffer in {:?}", buffer.place));
            }
        }
        // Where the loops end that are under way.
        let mut open = vec![entry.steps.len()];
        for (index, step) in entry.steps.iter().enumerate() {
            while open.len() > 1 && open.last() == Some(&index) {
                open.pop();
            }
            let runs = match step {
                Step::Launch(step) => {
                    let buffers = step.buffers.iter().all(|b| *b < entry.buffers.len());
                    self.runs(step) && buffers && step.scratch <= MOST_SCRATCH
                }
                Step::Loop(around) => {
                    let end = index.saturating_add(1).saturating_add(around.steps);
                    let slots = |step: &Step| match step {
                        Step::Launch(_) | Step::Size(_) => step.buffers().len() + 1,
                        Step::Loop(inner) => 3 * inner.moves.len(),
                    };
                    let moves = |m: &Move| (index + 1..end).contains(&m.step) && m.slot < slots(&entry.steps[m.step]);
                    let fits = open.last().is_some_and(|around| end <= *around) && open.len() <= MOST_LOOPS;
                    open.push(end);
                    fits && around.moves.iter().all(moves)
                }
                Step::Size(size) => {
                    let chosen = entry.symbols.get(size.symbol).map(|s| &s.chosen);
                    let computed = matches!(chosen, Some(Chosen::ByStep { .. })) && size.elem.is_int();
                    // The tables that loops change are made anew after it.
                    computed && open.len() == 1 && size.buffer < entry.buffers.len()
                }
            };
            if !runs {
                return Err(format!("`{name}` has a step {index} that cannot run"));
            }
        }
        Ok(())
    }

    /// Whether the kernel of a launch is there, and its tasks have the dimensions that the kernel has.
    fn runs(&self, launch: &Launch) -> bool {
        let dimensions = match &self.code {
            LoadedCode::Cpu(blob) => blob.kernels.get(launch.kernel).map(|_| 1),
            LoadedCode::Cuda(kernels) => kernels.get(launch.kernel).map(|_| 3),
        };
        dimensions == Some(launch.tasks.len())
    }

    /// Whether the memory of a buffer is there.
    fn has(&self, entry: &Entry, index: usize, buffer: &PlanBuffer) -> bool {
        let in_constant = |c: usize| {
            let bytes = buffer.bytes.evaluate(&[]).and_then(|n| usize::try_from(n).ok());
            self.constants.get(c).is_some_and(|c| bytes.is_some_and(|n| n <= c.len))
        };
        match &buffer.place {
            Place::Input(i) => *i < entry.inputs.len(),
            Place::Output(i) => *i < entry.outputs.len(),
            Place::Constant(i) => in_constant(*i),
            Place::Kept(k) | Place::Next(k) => self.kept.get(*k).is_some_and(|k| k.initial.is_none_or(in_constant)),
            Place::Arena { first, last } => first <= last && *last < entry.steps.len(),
            Place::Part { of, moved_by, .. } => {
                *of < index && moved_by.is_none_or(|l| matches!(entry.steps.get(l), Some(Step::Loop(_))))
            }
        }
    }
}

//! A plan: what compiling yields and the engine runs. Plain data, but for the code itself.

use crate::code::Code;
use crate::cuda::{CudaKernel, Device, DeviceError};
use crate::formula::Formula;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};
use tensor::{AlignedBytes, Elem};

/// An input or a result of an entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    #[serde(with = "as_text")]
    pub elem: Elem,
    pub dims: Vec<Formula>,
}

/// Where a buffer's memory comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Input(usize),
    Output(usize),
    /// Index into the program's constants.
    Constant(usize),
    /// What a session keeps, as it was before the call; an index into the program's list.
    Kept(usize),
    /// Where its next version goes.
    Next(usize),
    /// Planned memory, needed from one step to another, both included.
    Arena {
        first: usize,
        last: usize,
    },
    /// A part of a buffer before this one, so many bytes after its start; where it is before the first iteration of the
    /// loop, a step, that moves it.
    Part {
        of: usize,
        start: Formula,
        moved_by: Option<usize>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanBuffer {
    pub place: Place,
    pub bytes: Formula,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    Launch(Launch),
    Loop(Loop),
    Size(Size),
}

impl Step {
    pub fn launch(&self) -> Option<&Launch> {
        match self {
            Step::Launch(launch) => Some(launch),
            Step::Loop(_) | Step::Size(_) => None,
        }
    }

    /// Indices of the buffers whose addresses stand in the step's table, after its first slot.
    pub fn buffers(&self) -> &[usize] {
        match self {
            Step::Launch(launch) => &launch.buffers,
            Step::Loop(_) => &[],
            Step::Size(size) => std::slice::from_ref(&size.buffer),
        }
    }
}

/// From here on a symbol has the value of the integer in a buffer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Size {
    pub symbol: usize,
    pub buffer: usize,
    #[serde(with = "as_text")]
    pub elem: Elem,
    /// The line of the source that it comes from.
    pub source: String,
}

/// The steps after this one, `count` times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loop {
    pub count: Formula,
    /// How many of the steps after this one are in the loop.
    pub steps: usize,
    pub moves: Vec<Move>,
}

/// A slot in the table of a step in the loop. Its address changes after each iteration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Move {
    pub step: usize,
    pub slot: usize,
    pub motion: Motion,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Motion {
    /// So many bytes further.
    Stride(Formula),
    /// From the start of the buffer that it is a part of to so many bytes after it, and back.
    Turn(Formula),
}

/// One run of a kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// For reports: what runs here, and the line of the source that it comes from.
    pub name: String,
    pub source: String,
    pub kernel: usize,
    /// Indices into the entry's buffers, in the kernel's order.
    pub buffers: Vec<usize>,
    pub sizes: Vec<Formula>,
    /// How many tasks a kernel has; of a kernel for GPUs the blocks in each of three dimensions.
    pub tasks: Vec<Formula>,
    /// Operations, roughly; short steps are not shared between threads.
    pub work: Formula,
    /// Bytes of buffers that are read and written, each once.
    pub bytes: Formula,
    /// Bytes of scratch for each thread.
    pub scratch: usize,
}

/// A condition on sizes, checked before anything runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Guard {
    pub condition: Condition,
    /// As in the source, with its place: shown when the condition fails.
    pub text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Condition {
    Equal(Formula, Formula),
    AtMost(Formula, Formula),
}

/// A size that the caller of an entry or what it computes chooses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Symbol {
    pub name: String,
    pub chosen: Chosen,
}

/// What chooses a size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Chosen {
    /// Dims of inputs. The size is at least 1.
    ByDims,
    /// The value of an integer input without dims, from 0 to `most`.
    ByValue { input: usize, most: Formula },
    /// A step reads it from what steps before have computed, from 0 to `most`.
    ByStep { most: Formula },
}

impl Chosen {
    /// Whether the value of an input chooses the size.
    pub fn is_by(&self, value_of: usize) -> bool {
        matches!(self, Chosen::ByValue { input, .. } if *input == value_of)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub symbols: Vec<Symbol>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub guards: Vec<Guard>,
    pub buffers: Vec<PlanBuffer>,
    pub steps: Vec<Step>,
    /// What has a next version after a call.
    pub updates: Vec<usize>,
}

/// A weight or other constant, in the layout that kernels read.
#[derive(Clone, Serialize, Deserialize)]
pub struct Constant {
    pub name: String,
    /// Where it lies in the program's memory.
    pub offset: usize,
    pub len: usize,
}

/// A tensor that changes from call to call. Each session has its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    pub name: String,
    /// The constant that it starts as; zeros without one.
    pub initial: Option<usize>,
}

/// Everything needed to run; shared by sessions.
pub struct Program {
    pub name: String,
    pub entries: Vec<Entry>,
    pub constants: Vec<Constant>,
    pub kept: Vec<Kept>,
    /// Holds all constants.
    pub memory: AlignedBytes,
    pub kernels: Kernels,
    device: OnceLock<Result<Arc<Device>, DeviceError>>,
}

/// What the steps of a program run.
#[derive(Clone)]
pub enum Kernels {
    /// Entry `i` is function `i` of the code's entries.
    Cpu(Arc<Code>),
    Cuda(Arc<[CudaKernel]>),
}

impl Kernels {
    /// How many kernels there are.
    pub fn count(&self) -> usize {
        match self {
            Kernels::Cpu(code) => code.blob().kernels.len(),
            Kernels::Cuda(kernels) => kernels.len(),
        }
    }

    /// Bytes of code.
    pub fn bytes(&self) -> usize {
        match self {
            Kernels::Cpu(code) => code.blob().bytes.len(),
            Kernels::Cuda(kernels) => kernels.iter().flat_map(|k| &k.images).map(|i| i.bytes.len()).sum(),
        }
    }

    /// What the code needs: an instruction set, or the architectures of GPUs that it is for.
    pub fn target(&self) -> String {
        match self {
            Kernels::Cpu(code) => code.blob().isa.to_string(),
            Kernels::Cuda(kernels) => {
                let images = kernels.first().map_or(&[][..], |k| &k.images);
                format!("cuda:{}", images.iter().map(|i| i.arch.to_string()).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl Program {
    pub fn new(
        name: String,
        entries: Vec<Entry>,
        constants: Vec<Constant>,
        kept: Vec<Kept>,
        memory: AlignedBytes,
        kernels: Kernels,
    ) -> Program {
        Program { name, entries, constants, kept, memory, kernels, device: OnceLock::new() }
    }

    /// The program on this machine's GPU, loaded by whoever asks first; nothing if it is for a CPU.
    pub(crate) fn device(&self) -> Result<Option<Arc<Device>>, DeviceError> {
        let Kernels::Cuda(kernels) = &self.kernels else { return Ok(None) };
        self.device.get_or_init(|| Device::load(self, kernels).map(Arc::new)).clone().map(Some)
    }

    /// The address of a constant.
    pub fn constant(&self, index: usize) -> *const u8 {
        self.memory[self.constants[index].offset..].as_ptr()
    }
}

/// Element types by name.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use tensor::Elem;

    pub fn serialize<S: Serializer>(elem: &Elem, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(elem)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Elem, D::Error> {
        let name = <&str>::deserialize(d)?;
        name.parse().map_err(|_| D::Error::custom(format!("no element type `{name}`")))
    }
}

//! A plan: what compiling yields and the engine runs. Plain data, but for the code itself.

use crate::code::Code;
use crate::formula::Formula;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tensor::Elem;

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
    /// Planned memory, needed from one step to another, both included.
    Arena {
        first: usize,
        last: usize,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanBuffer {
    pub place: Place,
    pub bytes: Formula,
}

/// One kernel launch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// For reports: what runs here.
    pub name: String,
    pub kernel: usize,
    /// Indices into the entry's buffers, in the kernel's order.
    pub buffers: Vec<usize>,
    pub sizes: Vec<Formula>,
    pub tasks: Formula,
    /// Estimated nanoseconds on one thread; short steps are not shared between threads.
    pub cost: Formula,
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

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    /// Names of the dims that the caller's inputs choose, each at least 1.
    pub symbols: Vec<String>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub guards: Vec<Guard>,
    pub buffers: Vec<PlanBuffer>,
    pub steps: Vec<Step>,
}

/// A weight or other constant, in the layout that kernels read.
#[derive(Clone, Serialize, Deserialize)]
pub struct Constant {
    pub name: String,
    #[serde(with = "as_bytes")]
    pub data: Arc<AlignedBytes>,
}

/// Everything needed to run; shared by sessions.
pub struct Program {
    pub name: String,
    /// Entry `i` is function `i` of the code's entries.
    pub entries: Vec<Entry>,
    pub constants: Vec<Constant>,
    pub code: Arc<Code>,
}

/// Bytes at a 64-byte boundary, with a vector's worth of room after the end.
pub struct AlignedBytes {
    words: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl AlignedBytes {
    pub fn zeroed(len: usize) -> AlignedBytes {
        AlignedBytes { words: vec![Line([0; 64]); len.div_ceil(64) + 1], len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.words.as_ptr().cast()
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `words` owns at least `len` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), len) }
    }
}

/// Element types by name.
mod as_text {
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

mod as_bytes {
    use super::AlignedBytes;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::sync::Arc;

    pub fn serialize<S: Serializer>(data: &AlignedBytes, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(data.bytes())
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Arc<AlignedBytes>, D::Error> {
        let bytes = <&[u8]>::deserialize(d)?;
        let mut data = AlignedBytes::zeroed(bytes.len());
        data.bytes_mut().copy_from_slice(bytes);
        Ok(Arc::new(data))
    }
}

//! Compiles models and runs them: the Rust API, and what the `nnc` command is made of.
//!
//! ```
//! // A model, its weights, a session for each caller.
//! let digits = nnc::compile("../../dsl-examples/digits.nn")?.build()?;
//! let program = digits.load(&["../../dsl-examples/data/digits.safetensors"], None)?;
//! let mut session = program.session(2);
//! let seven = nnc::picture::read("../../dsl-examples/data/seven.png".as_ref(), 1, None)?;
//! let probability = session.call("forward", &[seven])?[0].to_f64();
//! assert!(probability[7] > 0.99);
//! # Ok::<(), nnc::Error>(())
//! ```
//!
//! [`compile`] reads a model, [`Compiler::build`] makes code, [`Model::load`] fills in weights, [`Program::session`] gives
//! memory to a caller, [`Session::call`] runs. [`Program::save`] writes one file that runs without the rest: crate
//! `nnc-engine` alone reads it. Every mistake is an [`Error`].

#![warn(missing_docs)]

mod cache;
mod compile;
mod constants;
mod cost;
pub mod drawing;
mod dump;
mod error;
pub mod measure;
mod native;
mod plan;
mod reference;
mod session;
mod target;
mod training;

pub use compile::{Compiled, Compiler, Model, Stage, compile, compile_graph, compile_text};
pub use constants::{Program, Values, sources};
pub use cost::{Needs, operations};
pub use cuda::nvrtc::{Nvrtc, NvrtcError};
pub use data::{channels, picture, sound};
pub use dsl::Entry as ModelEntry;
pub use dsl::{Stored, Training, doc, weights};
pub use dump::{PASSES, assembly, clif, cuda, format, vector_ir};
pub use engine::file::is_program;
pub use engine::{
    Arch, AsView, AsViewMut, Cache, CallError, Chosen, DeviceError, Entry, Formula, Gpu, Isa, Port,
    Session as EngineSession, Symbol, Timed, View, ViewMut,
};
pub use error::Error;
pub use graph::{Array, Dim, Graph, Storage, TensorType};
pub use reference::{max_error, reference};
pub use session::Session;
pub use target::{Function, Target};
/// A kernel in all its forms.
pub type Loops = lower::Loops<Function>;
/// What a step runs.
pub type LoweredKernel = lower::LoweredKernel<Function>;
pub use tensor::{Elem, FileError, Tensor, npy, safetensors, write_whole};
pub use train;
pub use training::TrainOptions;

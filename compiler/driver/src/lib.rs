//! Compiles models and runs them: the Rust API, and what the `nnc` command is made of.
//!
//! ```no_run
//! # fn main() -> Result<(), nnc::Error> {
//! let bert = nnc::compile("bert_encoder.nn")?.define("layers", 6).build()?;
//! let program = bert.load(&["model.safetensors"], Some("hub"))?;
//! let mut session = program.session(2);
//! let ids = nnc::Tensor::new(&[1, 3], &[101i32, 2748, 102]);
//! let results = session.call("forward", &[ids])?;
//! # Ok(()) }
//! ```

mod compile;
mod constants;
mod cost;
pub mod drawing;
mod dump;
mod error;
pub mod measure;
mod plan;
mod reference;
mod session;
mod training;

pub use compile::{Compiled, Compiler, Function, Model, Stage, compile, compile_graph, compile_text};
pub use constants::{Program, Values, sources};
pub use cost::{Needs, operations};
pub use data::{picture, sound};
pub use dsl::Entry as ModelEntry;
pub use dsl::{Stored, Training, doc, weights};
pub use dump::{PASSES, assembly, clif, cuda, format, vector_ir};
pub use engine::file::is_program;
pub use engine::{
    AsView, AsViewMut, CallError, Chosen, Entry, Formula, Isa, Port, Session as EngineSession, Symbol, Timed, View,
    ViewMut,
};
pub use error::Error;
pub use graph::{Dim, Graph, Storage, TensorType};
pub use reference::{max_error, reference};
pub use session::Session;
/// A kernel in all its forms.
pub type Loops = lower::Loops<Function>;
pub use tensor::{Elem, FileError, Tensor, npy, safetensors, write_whole};
pub use train;
pub use training::TrainOptions;

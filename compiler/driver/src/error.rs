//! Everything that can go wrong between a file and a result.

use diag::{Diagnostic, SourceMap};
use dsl::weights::Mismatch;

/// What can go wrong. Errors of other rooms are its sources.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mistakes in a model, with the texts they point into.
    #[error("{}", render(diagnostics, sources))]
    Model {
        /// Independent mistakes, all of them.
        diagnostics: Vec<Diagnostic>,
        /// What they point into.
        sources: Box<SourceMap>,
    },
    /// A model that is right but that this version cannot compile for this target.
    #[error("{place}: {message}")]
    Unsupported {
        /// `file:line:column`
        place: String,
        /// What, why, and a way around it.
        message: String,
    },
    /// The compiler contradicts itself.
    #[error("{0}")]
    Defect(String),
    /// A file that cannot be read or written, or does not hold what it should.
    #[error(transparent)]
    File(#[from] tensor::FileError),
    /// A checkpoint that does not fit: everything at once.
    #[error("{}", mismatch.message(files, model))]
    Mismatch {
        /// As the caller named them.
        files: String,
        /// Its name.
        model: String,
        /// What differs.
        #[source]
        mismatch: Box<Mismatch>,
    },
    /// A checkpoint or a choice of rules that is wrong otherwise.
    #[error("{0}")]
    Weights(String),
    /// A call that was refused or failed.
    #[error(transparent)]
    Call(#[from] engine::CallError),
    /// A `train` block or its data that training cannot use.
    #[error("{0}")]
    Training(String),
    /// Training that cannot go on.
    #[error(transparent)]
    Train(#[from] train::TrainError),
    /// Code from elsewhere that cannot be compiled or linked.
    #[error("{0}")]
    Native(String),
    /// No compiler for GPUs, or one that refuses.
    #[error(transparent)]
    Nvrtc(#[from] cuda::nvrtc::NvrtcError),
    /// No GPU.
    #[error(transparent)]
    Device(#[from] engine::DeviceError),
    /// The system gives no memory for code.
    #[error("executable memory: {0}")]
    Memory(#[source] std::io::Error),
    /// What a model stores is more than this machine has room for.
    #[error(
        "the parameters and constants of {model} need {bytes}, more than this machine has free; make the model smaller"
    )]
    TooLarge {
        /// Its name.
        model: String,
        /// How many, in words.
        bytes: String,
    },
}

fn render(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    diagnostics.iter().map(|d| d.render(sources, false)).collect::<Vec<_>>().join("\n\n")
}

impl Error {
    /// The message as for a terminal.
    pub fn render(&self, colours: bool) -> String {
        match self {
            Error::Model { diagnostics, sources } => {
                diagnostics.iter().map(|d| d.render(sources, colours)).collect::<Vec<_>>().join("\n\n")
            }
            Error::Mismatch { .. } => self.to_string(),
            other => format!("error: {other}"),
        }
    }
}

//! Everything that can go wrong between a file and a result.

use diag::{Diagnostic, SourceMap};
use dsl::weights::Mismatch;

/// What can go wrong. Errors of other rooms are its sources.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mistakes in a model, with the texts they point into.
    #[error("{}", render(diagnostics, sources))]
    Model { diagnostics: Vec<Diagnostic>, sources: Box<SourceMap> },
    /// A model that is right but that this version cannot compile for this target.
    #[error("{place}: {message}")]
    Unsupported { place: String, message: String },
    /// The compiler contradicts itself.
    #[error("{0}")]
    Defect(String),
    #[error(transparent)]
    File(#[from] tensor::FileError),
    /// A checkpoint that does not fit: everything at once.
    #[error("{}", mismatch.message(files, model))]
    Mismatch {
        /// The files, as the caller named them, and the model.
        files: String,
        model: String,
        #[source]
        mismatch: Box<Mismatch>,
    },
    /// A checkpoint or a choice of rules that is wrong otherwise.
    #[error("{0}")]
    Weights(String),
    #[error(transparent)]
    Call(#[from] engine::CallError),
    /// A `train` block or its data that training cannot use.
    #[error("{0}")]
    Training(String),
    #[error(transparent)]
    Train(#[from] train::TrainError),
    #[error("executable memory: {0}")]
    Memory(#[source] std::io::Error),
    /// What a model stores is more than this machine has room for.
    #[error(
        "the parameters and constants of {model} need {bytes}, more than this machine has free; make the model smaller"
    )]
    TooLarge { model: String, bytes: String },
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

//! ONNX files as models of the language: an import is a text, and the values of what it stores.
//!
//! Nothing of a file is run, and nothing is read outside of its folder.

mod known;
pub mod proto;
pub mod table;
mod tensors;
mod write;

use bytes::Bytes;
use memmap2::Mmap;
use prost::Message;
use proto::TensorProto;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tensor::{Elem, FileError, Tensor};

/// Why a file is not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    fn new(text: impl Into<String>) -> Problem {
        Problem(text.into())
    }
}

/// A model of a file.
pub struct Import {
    /// In the language.
    pub text: String,
    folder: PathBuf,
    /// What the text stores, by the names that it has for it.
    stored: HashMap<String, TensorProto>,
}

/// Whether a file of this name is one of ONNX.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

/// Reads a file. Weights stay in the file, mapped, until somebody asks for them.
pub fn open(path: &Path) -> Result<Import, FileError> {
    let (file, _) = tensor::open_data(path)?;
    // SAFETY: the mapping is private and read-only. Somebody who truncates the file while it is in use takes the process
    // down, as with any mapped file.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| FileError::io(path, e))?;
    let name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let folder = path.parent().unwrap_or(Path::new(""));
    import(Bytes::from_owner(map), &name, folder).map_err(|e| FileError::content(path, e.to_string()))
}

/// The model in the bytes of a file; `folder` is where other files of it lie.
pub fn import(bytes: Bytes, name: &str, folder: &Path) -> Result<Import, Problem> {
    let model = proto::Model::decode(bytes).map_err(|e| Problem::new(format!("no ONNX file: {e}")))?;
    write::write(&model, name, folder)
}

impl Import {
    /// The value of what the text stores under a name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Problem> {
        let found = self.stored.get(name).ok_or_else(|| Problem::new(format!("the file has no `{name}`")))?;
        tensors::read(found, &self.folder)
    }

    /// Names, shapes and element types of what is stored.
    pub fn entries(&self) -> Vec<(String, Vec<usize>, Option<Elem>)> {
        let entry = |(name, t): (&String, &TensorProto)| {
            (name.clone(), tensors::shape(t).unwrap_or_default(), tensors::elem(t.data_type).ok())
        };
        let mut entries: Vec<_> = self.stored.iter().map(entry).collect();
        entries.sort();
        entries
    }
}

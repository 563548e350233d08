//! What reading and writing files shares.

use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that cannot be read or written, or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}: {message}", path.display())]
    Content { path: PathBuf, message: String },
}

impl FileError {
    pub fn io(path: &Path, error: std::io::Error) -> FileError {
        FileError::Io { path: path.into(), error }
    }

    pub fn content(path: &Path, message: impl Into<String>) -> FileError {
        FileError::Content { path: path.into(), message: message.into() }
    }
}

/// Writes a file whole or not at all: beside its place first, then renamed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = std::fs::File::create(&beside)
        .and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        // What is left beside is of no use; if it cannot be removed there is nothing more to do.
        let _ = std::fs::remove_file(&beside);
        FileError::io(path, e)
    })
}

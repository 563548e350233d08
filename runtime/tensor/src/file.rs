//! What reading and writing files shares.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// A file that cannot be read or written, or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {}", path.display(), reason(error))]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {message}", path.display())]
    Content { path: PathBuf, message: String },
}

impl FileError {
    pub fn io(path: &Path, error: io::Error) -> FileError {
        FileError::Io { path: path.into(), error }
    }

    pub fn content(path: &Path, message: impl Into<String>) -> FileError {
        FileError::Content { path: path.into(), message: message.into() }
    }
}

/// What went wrong and what to do about it.
fn reason(error: &io::Error) -> String {
    let known = match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder; check the path",
        ErrorKind::PermissionDenied => "permission denied; `ls -l` shows who may use it",
        ErrorKind::IsADirectory => "is a folder; name a file",
        ErrorKind::NotADirectory => "goes through a file as if it were a folder; check the path",
        ErrorKind::StorageFull => "the disk is full; make room, or write to another one",
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only; write to another one",
        ErrorKind::InvalidFilename => "a name is too long, or not one that the disk takes",
        _ => return error.to_string(),
    };
    known.into()
}

/// Bytes of text beyond which a file is no source.
const MOST_TEXT: u64 = 4 << 20;

/// The text of a source, which may come through a pipe.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let file = File::open(path).map_err(|e| FileError::io(path, e))?;
    text_of(file, path)
}

/// The text that `from` gives; `path` stands for it in messages.
pub fn text_of(from: impl Read, path: &Path) -> Result<String, FileError> {
    let mut bytes = vec![];
    from.take(MOST_TEXT + 1).read_to_end(&mut bytes).map_err(|e| FileError::io(path, e))?;
    if bytes.len() as u64 > MOST_TEXT {
        let most = MOST_TEXT >> 20;
        return Err(FileError::content(path, format!("is longer than {most} MiB; a source is text of at most that")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        FileError::content(path, format!("is not UTF-8 on line {line}; a source is text in UTF-8"))
    })
}

/// Opens a file that holds data, and gives its length. A pipe or a device has none that could be trusted.
pub fn open_data(path: &Path) -> Result<(File, u64), FileError> {
    // Looked at first: opening a pipe waits for its writer.
    let about = std::fs::metadata(path).map_err(|e| FileError::io(path, e))?;
    if about.is_dir() {
        return Err(FileError::io(path, ErrorKind::IsADirectory.into()));
    }
    if !about.is_file() {
        return Err(FileError::content(path, "is a pipe or a device; put its content into a file first"));
    }
    let file = File::open(path).map_err(|e| FileError::io(path, e))?;
    Ok((file, about.len()))
}

/// Writes a file whole or not at all: beside its place first, then renamed. A link stays, and what it leads to is
/// replaced. Pipes and devices are written to.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |e| FileError::io(path, e);
    let old = std::fs::metadata(path).ok();
    match &old {
        Some(old) if old.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
        Some(old) if !old.is_file() => {
            return File::options().write(true).open(path).and_then(|mut f| f.write_all(bytes)).map_err(failed);
        }
        // The folder may allow what the file does not.
        Some(old) if old.permissions().readonly() => return Err(failed(ErrorKind::PermissionDenied.into())),
        _ => {}
    }
    let place = path.canonicalize().unwrap_or_else(|_| path.into());
    let mut beside = place.clone().into_os_string();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    let write = |mut file: File| {
        file.write_all(bytes)?;
        if let Some(old) = &old {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()
    };
    let written = File::create(&beside).and_then(write).and_then(|()| std::fs::rename(&beside, &place));
    written.map_err(|e| {
        // What is left beside is of no use; if it cannot be removed there is nothing more to do.
        let _ = std::fs::remove_file(&beside);
        failed(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<impl Sized, FileError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_source_is_text_of_some_length() {
        assert_eq!(message(read_text(Path::new("/"))), "/: is a folder; name a file");
        assert_eq!(
            message(read_text(Path::new("/no/a.nn"))),
            "/no/a.nn: there is no such file or folder; check the path"
        );
        assert!(message(read_text(Path::new("/dev/zero"))).contains("is longer than 4 MiB"));
        assert!(message(text_of(&b"a\nb\xff"[..], Path::new("a.nn"))).starts_with("a.nn: is not UTF-8 on line 2;"));
    }

    #[test]
    fn devices_are_written_to_and_never_replaced() {
        use std::os::unix::fs::FileTypeExt;
        assert_eq!(
            message(write_whole(Path::new("/dev/full"), b"a")),
            "/dev/full: the disk is full; make room, or write to another one"
        );
        write_whole(Path::new("/dev/null"), b"a").unwrap();
        for device in ["/dev/full", "/dev/null"] {
            assert!(std::fs::metadata(device).unwrap().file_type().is_char_device());
        }
    }

    #[test]
    fn what_is_written_keeps_links_and_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("nnc-write-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("a"), folder.join("b"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(message(write_whole(&link, b"newer")).contains("permission denied"));
        assert!(message(write_whole(&folder, b"a")).ends_with("is a folder; name a file"));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

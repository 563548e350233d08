//! Code from elsewhere: shared libraries, and C sources that become such.

use crate::error::Error;
use cpu::ExternalCall;
use engine::{Isa, Library};
use graph::ops::Extern;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// What the function takes, of so many operands.
pub(crate) fn call(external: &Extern, operands: usize) -> ExternalCall<'_> {
    let Extern { symbol, sizes, integers, floats, .. } = external;
    ExternalCall { symbol, buffers: operands + 1, sizes: sizes.len(), integers, floats }
}

/// The libraries of one program, each read or compiled once.
pub(crate) struct Libraries {
    isa: Isa,
    files: HashMap<String, Vec<u8>>,
}

impl Libraries {
    pub(crate) fn new(isa: Isa) -> Libraries {
        Libraries { isa, files: HashMap::new() }
    }

    /// The bytes of the library that has the function.
    pub(crate) fn of(&mut self, external: &Extern) -> Result<&[u8], Error> {
        let Extern { file, symbol, .. } = external;
        let bytes = match self.files.entry(file.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(read(Path::new(file), self.isa)?),
        };
        let library = Library::open(bytes);
        let library = library.map_err(|e| Error::Native(format!("`{file}` is no library for this machine: {e}")))?;
        match library.function(symbol) {
            Some(_) => Ok(bytes),
            None => Err(Error::Native(format!(
                "`{file}` has no function `{symbol}`; name another one by symbol = \"…\", and do not make it static"
            ))),
        }
    }
}

/// A library, or what becomes of a source.
fn read(path: &Path, isa: Isa) -> Result<Vec<u8>, Error> {
    if path.extension().is_some_and(|e| e == "c") {
        return compiled(path, isa);
    }
    let mut bytes = vec![];
    let (mut file, _) = tensor::open_data(path)?;
    file.read_to_end(&mut bytes).map_err(|e| tensor::FileError::io(path, e))?;
    Ok(bytes)
}

/// By the C compiler of this machine: the one in `CC`, else `cc`.
fn compiled(source: &Path, isa: Isa) -> Result<Vec<u8>, Error> {
    tensor::read_text(source)?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let folder = std::env::temp_dir().join(format!("nnc-{}-{:?}", std::process::id(), std::thread::current().id()));
    let failed = |e: std::io::Error| tensor::FileError::io(&folder, e);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let library = folder.join("library.so");
    let mut command = Command::new(&compiler);
    command.args(["-O3", "-fPIC", "-shared", "-o"]).arg(&library).arg(source).arg("-lm");
    if cfg!(target_arch = "x86_64") {
        command.arg(match isa {
            Isa::Baseline => "-march=x86-64",
            Isa::Avx2 => "-march=x86-64-v3",
            Isa::Avx512 => "-march=x86-64-v4",
        });
    }
    let answer = command.output().map_err(|e| {
        let text = format!(
            "`{}` needs a C compiler, and `{compiler}` does not start: {e}; install one, or name it in CC",
            source.display()
        );
        Error::Native(text)
    });
    let bytes = answer.and_then(|answer| match answer.status.success() {
        true => Ok(std::fs::read(&library).map_err(failed)?),
        false => {
            let text = String::from_utf8_lossy(&answer.stderr);
            Err(Error::Native(format!("`{compiler}` does not compile `{}`:\n{}", source.display(), text.trim_end())))
        }
    });
    // What is left in a folder for temporary files is nobody's loss.
    let _ = std::fs::remove_dir_all(&folder);
    bytes
}

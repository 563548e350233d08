//! Machine code: as it is kept and moved about, and mapped so that it can be called.
//!
//! Memory is writable while code is put into it, executable afterwards, and never both.

use crate::helper::Helper;
use crate::isa::Isa;
use serde::{Deserialize, Serialize};
use std::io;

/// Compiled code of one kernel. The table holds, in 8-byte slots: a pointer to the error word, a pointer for each
/// buffer, each size, a pointer to scratch memory of the thread. The call runs tasks from `begin` to `end`.
pub type KernelFn = unsafe extern "C" fn(table: *const u64, begin: i64, end: i64);

/// Compiled code of one entry: for each of its steps a table and a number, which is that of the tasks of a kernel, all of
/// which it runs, or of the iterations of a loop. The table of a loop holds three words for each address that it moves:
/// what it is in the first iteration, then what changes it after each one, `(address ^ mask) + stride`.
pub type EntryFn = unsafe extern "C" fn(tables: *const *const u64, tasks: *const i64);

/// Bits of the error word: what a kernel found wrong.
pub const INDEX_OUT_OF_RANGE: i64 = 1;
pub const DIVISION_BY_ZERO: i64 = 2;

/// Functions start at lines of the instruction cache, constants behind them at the same boundary.
pub const ALIGN: usize = 64;

/// Code of all functions of a program, to be put anywhere in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// What the code needs of a machine.
    pub isa: Isa,
    pub bytes: Vec<u8>,
    /// Where the function of each kernel starts.
    pub kernels: Vec<usize>,
    /// Where the function of each entry starts.
    pub entries: Vec<usize>,
    pub relocations: Vec<Relocation>,
    /// Shared libraries, as files hold them, and the functions of theirs that the code calls.
    pub libraries: Vec<Vec<u8>>,
    pub externals: Vec<External>,
}

/// A function of one of the libraries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    pub library: usize,
    pub symbol: String,
}

/// A place of 8 bytes in the code that holds the address of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    pub at: usize,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A function of the code, by where it starts.
    Own(usize),
    Helper(Helper),
    /// One of the blob's externals.
    External(usize),
}

impl Blob {
    /// Whether everything the blob points to lies inside of it.
    pub fn is_sound(&self) -> bool {
        let inside = |start: &usize| *start < self.bytes.len() && start % ALIGN == 0;
        let fits = |r: &Relocation| {
            let target = match &r.target {
                Target::Own(start) => inside(start),
                Target::Helper(_) => true,
                Target::External(index) => *index < self.externals.len(),
            };
            target && r.at.checked_add(8).is_some_and(|end| end <= self.bytes.len())
        };
        let there = self.externals.iter().all(|e| e.library < self.libraries.len());
        there && self.kernels.iter().chain(&self.entries).all(inside) && self.relocations.iter().all(fits)
    }

    /// Maps the code executable. The blob is sound, and this machine has what it needs.
    pub fn map(&self) -> io::Result<Code> {
        if !self.is_sound() || self.isa > Isa::host() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the code is damaged or for another machine"));
        }
        let externals = self.externals()?;
        let memory = CodeMemory::with(self.bytes.len(), |start, place| {
            place.copy_from_slice(&self.bytes);
            for relocation in &self.relocations {
                let address = match relocation.target {
                    Target::Own(function) => start + function,
                    Target::Helper(helper) => helper.address() as usize,
                    Target::External(index) => externals.address(index),
                };
                place[relocation.at..relocation.at + 8].copy_from_slice(&address.to_ne_bytes());
            }
        })?;
        let at = |start: &usize| memory.as_ptr().wrapping_add(*start);
        let (kernels, entries) = (self.kernels.iter().map(at).collect(), self.entries.iter().map(at).collect());
        // SAFETY: the blob is sound, so functions start there; whoever made it says which.
        Ok(unsafe { Code::new(self.clone(), kernels, entries, Box::new((memory, externals))) })
    }

    /// Opens the libraries and finds the functions of theirs.
    pub fn externals(&self) -> io::Result<Externals> {
        let libraries = self.libraries.iter().map(|bytes| Library::open(bytes)).collect::<io::Result<Vec<_>>>()?;
        let address = |e: &External| {
            let found = libraries.get(e.library).and_then(|library| library.function(&e.symbol));
            found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no function `{}`", e.symbol)))
        };
        let addresses = self.externals.iter().map(address).collect::<io::Result<_>>()?;
        Ok(Externals { addresses, _libraries: libraries })
    }
}

/// Functions from elsewhere, there for as long as this lives.
pub struct Externals {
    addresses: Vec<usize>,
    _libraries: Vec<Library>,
}

impl Externals {
    /// Of the blob's external of this number.
    pub fn address(&self, index: usize) -> usize {
        self.addresses[index]
    }
}

/// A shared library that is loaded.
pub struct Library {
    handle: *mut libc::c_void,
    /// The loader knows a library by its path, this one by the number of this descriptor: nobody else may get that number
    /// while it is loaded.
    file: Option<std::fs::File>,
    path: std::ffi::CString,
}

// SAFETY: the handle is only asked for addresses, which the loader allows from anywhere.
unsafe impl Send for Library {}
unsafe impl Sync for Library {}

impl Library {
    /// Loads a library from the bytes of its file, and runs what it runs when it is loaded.
    #[cfg(target_os = "linux")]
    pub fn open(bytes: &[u8]) -> io::Result<Library> {
        use std::io::Write;
        use std::os::fd::{AsRawFd, FromRawFd};
        // SAFETY: the descriptor is new, and owned by the file.
        let mut file = unsafe {
            let descriptor = libc::memfd_create(c"nnc".as_ptr(), libc::MFD_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            std::fs::File::from_raw_fd(descriptor)
        };
        file.write_all(bytes)?;
        let path = std::ffi::CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        // SAFETY: the path ends in a zero; what the library does when loaded is its author's matter.
        let (handle, error) = unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            (handle, if handle.is_null() { libc::dlerror() } else { std::ptr::null_mut() })
        };
        if handle.is_null() {
            // SAFETY: the loader gives a text that ends in a zero.
            let text = unsafe { std::ffi::CStr::from_ptr(error) }.to_string_lossy().into_owned();
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Library { handle, file: Some(file), path })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn open(_: &[u8]) -> io::Result<Library> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "code from elsewhere is loaded on Linux only"))
    }

    /// The address of a function.
    pub fn function(&self, symbol: &str) -> Option<usize> {
        let name = std::ffi::CString::new(symbol).ok()?;
        // SAFETY: the library is loaded.
        let address = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        (!address.is_null()).then_some(address as usize)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: whoever calls into the library has this too.
        unsafe {
            libc::dlclose(self.handle);
            // Some libraries say that they are never unloaded; then the number stays theirs.
            let left = libc::dlopen(self.path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
            if !left.is_null() {
                libc::dlclose(left);
                std::mem::forget(self.file.take());
            }
        }
    }
}

/// Code that can be called for as long as this lives.
pub struct Code {
    kernels: Vec<KernelFn>,
    entries: Vec<EntryFn>,
    blob: Blob,
    /// What the functions lie in.
    _memory: Box<dyn Send + Sync>,
}

impl Code {
    /// Functions of `blob` that lie in `memory`.
    ///
    /// # Safety
    /// They are functions of these types, in the order of the blob, for as long as `memory` lives.
    pub unsafe fn new(
        blob: Blob,
        kernels: Vec<*const u8>,
        entries: Vec<*const u8>,
        memory: Box<dyn Send + Sync>,
    ) -> Code {
        // SAFETY: the caller says so.
        let kernels = kernels.into_iter().map(|f| unsafe { std::mem::transmute::<*const u8, KernelFn>(f) }).collect();
        // SAFETY: as above.
        let entries = entries.into_iter().map(|f| unsafe { std::mem::transmute::<*const u8, EntryFn>(f) }).collect();
        Code { kernels, entries, blob, _memory: memory }
    }

    /// The code as it was before it was mapped.
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    pub fn kernel(&self, index: usize) -> KernelFn {
        self.kernels[index]
    }

    pub fn entry(&self, index: usize) -> EntryFn {
        self.entries[index]
    }
}

/// Executable memory.
pub struct CodeMemory {
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory is never written once it is executable.
unsafe impl Send for CodeMemory {}
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    pub fn new(code: &[u8]) -> io::Result<CodeMemory> {
        CodeMemory::with(code.len(), |_, place| place.copy_from_slice(code))
    }

    /// Memory of `len` bytes that `fill` is given to fill, with its address.
    fn with(len: usize, fill: impl FnOnce(usize, &mut [u8])) -> io::Result<CodeMemory> {
        let mapped = len.next_multiple_of(4096).max(4096);
        // SAFETY: a fresh private mapping of `mapped` bytes, filled before anyone else sees it.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let memory = CodeMemory { start: start.cast(), len: mapped };
            fill(start as usize, std::slice::from_raw_parts_mut(memory.start, len));
            if libc::mprotect(start, mapped, libc::PROT_READ | libc::PROT_EXEC) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(memory)
        }
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.start
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody calls into it any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

//! Machine code: as it is kept and moved about, and mapped so that it can be called.
//!
//! Memory is writable while code is put into it, executable afterwards, and never both.

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
}

/// What code calls where a machine lacks an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Helper {
    Fma,
    Floor,
    Ceil,
    Trunc,
    Nearest,
}

impl Helper {
    fn address(self) -> usize {
        extern "C" fn fma(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
        extern "C" fn floor(x: f32) -> f32 {
            x.floor()
        }
        extern "C" fn ceil(x: f32) -> f32 {
            x.ceil()
        }
        extern "C" fn trunc(x: f32) -> f32 {
            x.trunc()
        }
        extern "C" fn nearest(x: f32) -> f32 {
            x.round_ties_even()
        }
        match self {
            Helper::Fma => fma as *const () as usize,
            Helper::Floor => floor as *const () as usize,
            Helper::Ceil => ceil as *const () as usize,
            Helper::Trunc => trunc as *const () as usize,
            Helper::Nearest => nearest as *const () as usize,
        }
    }
}

impl Blob {
    /// Whether everything the blob points to lies inside of it.
    pub fn is_sound(&self) -> bool {
        let inside = |start: &usize| *start < self.bytes.len() && start % ALIGN == 0;
        let fits = |r: &Relocation| {
            let target = match &r.target {
                Target::Own(start) => inside(start),
                Target::Helper(_) => true,
            };
            target && r.at.checked_add(8).is_some_and(|end| end <= self.bytes.len())
        };
        self.kernels.iter().chain(&self.entries).all(inside) && self.relocations.iter().all(fits)
    }

    /// Maps the code executable. The blob is sound, and this machine has what it needs.
    pub fn map(&self) -> io::Result<Code> {
        if !self.is_sound() || self.isa > Isa::host() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the code is damaged or for another machine"));
        }
        let memory = CodeMemory::with(self.bytes.len(), |start, place| {
            place.copy_from_slice(&self.bytes);
            for relocation in &self.relocations {
                let address = match relocation.target {
                    Target::Own(function) => start + function,
                    Target::Helper(helper) => helper.address(),
                };
                place[relocation.at..relocation.at + 8].copy_from_slice(&address.to_ne_bytes());
            }
        })?;
        Ok(Code { memory, blob: self.clone() })
    }
}

/// Code that can be called for as long as this lives.
pub struct Code {
    memory: CodeMemory,
    blob: Blob,
}

impl Code {
    /// The code as it was before it was mapped.
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    pub fn kernel(&self, index: usize) -> KernelFn {
        // SAFETY: the offset lies inside the code, and whoever made it put a function of this type there.
        unsafe { std::mem::transmute::<*const u8, KernelFn>(self.memory.as_ptr().add(self.blob.kernels[index])) }
    }

    pub fn entry(&self, index: usize) -> EntryFn {
        // SAFETY: as above.
        unsafe { std::mem::transmute::<*const u8, EntryFn>(self.memory.as_ptr().add(self.blob.entries[index])) }
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

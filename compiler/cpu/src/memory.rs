//! Memory for code: writable while it is filled, then executable and no longer writable.

use std::io;

/// Machine code that can be called.
pub struct CodeMemory {
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory is never written after `new`.
unsafe impl Send for CodeMemory {}
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    pub fn new(code: &[u8]) -> io::Result<CodeMemory> {
        let len = code.len().next_multiple_of(4096).max(4096);
        // SAFETY: a fresh private mapping of `len` bytes, filled before anyone else sees it.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let memory = CodeMemory { start: start.cast(), len };
            std::ptr::copy_nonoverlapping(code.as_ptr(), memory.start, code.len());
            if libc::mprotect(start, len, libc::PROT_READ | libc::PROT_EXEC) != 0 {
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

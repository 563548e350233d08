//! Memory that kernels read and write.

use std::alloc::Layout;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes at a 64-byte boundary, so that vectors can be stored past the caches, with a vector's worth of room after the
/// end. Large ones lie in huge pages where the system has them: weights that stream through kernels touch many small
/// ones.
pub struct AlignedBytes {
    start: NonNull<u8>,
    layout: Layout,
    len: usize,
}

// SAFETY: the memory is owned, and only reached through references.
unsafe impl Send for AlignedBytes {}
unsafe impl Sync for AlignedBytes {}

const LINE: usize = 64;
const HUGE_PAGE: usize = 2 << 20;

impl AlignedBytes {
    /// Panics where [`AlignedBytes::try_zeroed`] gives nothing: for lengths that are known to be there already.
    pub fn zeroed(len: usize) -> AlignedBytes {
        AlignedBytes::try_zeroed(len).unwrap_or_else(|| panic!("{len} bytes are more than this machine has"))
    }

    /// Nothing if this machine has less memory. For lengths that come from outside.
    pub fn try_zeroed(len: usize) -> Option<AlignedBytes> {
        AlignedBytes::starting_with(&[], len)
    }

    /// These bytes, then zeros.
    fn starting_with(bytes: &[u8], len: usize) -> Option<AlignedBytes> {
        let huge = len >= HUGE_PAGE;
        // A system that promises more than it has ends the process when the memory is touched.
        if huge && len > machine_memory() {
            return None;
        }
        let align = if huge { HUGE_PAGE } else { LINE };
        let layout = Layout::from_size_align(len.checked_next_multiple_of(LINE)?.checked_add(LINE)?, align).ok()?;
        // SAFETY: the layout is not empty; the memory is written whole before anybody reads it.
        unsafe {
            let start = NonNull::new(std::alloc::alloc(layout))?;
            #[cfg(target_os = "linux")]
            if huge {
                // Advice only: without huge pages everything works, a little slower.
                libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE);
            }
            start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            start.as_ptr().add(bytes.len()).write_bytes(0, layout.size() - bytes.len());
            Some(AlignedBytes { start, layout, len })
        }
    }
}

/// Bytes of memory of this machine; all that can be addressed if it does not say.
fn machine_memory() -> usize {
    // SAFETY: these calls only answer.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    match (usize::try_from(pages), usize::try_from(size)) {
        (Ok(pages), Ok(size)) => pages.saturating_mul(size),
        _ => isize::MAX as usize,
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the memory holds at least `len` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl From<&[u8]> for AlignedBytes {
    fn from(bytes: &[u8]) -> AlignedBytes {
        let len = bytes.len();
        AlignedBytes::starting_with(bytes, len).unwrap_or_else(|| panic!("{len} bytes are more than this machine has"))
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> AlignedBytes {
        AlignedBytes::from(&self[..])
    }
}

impl PartialEq for AlignedBytes {
    fn eq(&self, other: &AlignedBytes) -> bool {
        self[..] == other[..]
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self[..].fmt(f)
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody has a reference any more.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

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
    pub fn zeroed(len: usize) -> AlignedBytes {
        let huge = len >= HUGE_PAGE;
        let align = if huge { HUGE_PAGE } else { LINE };
        let layout = Layout::from_size_align(len.next_multiple_of(LINE) + LINE, align);
        let Ok(layout) = layout else { panic!("{len} bytes are more than this machine can address") };
        // SAFETY: the layout is not empty; the memory is written whole before anybody reads it.
        unsafe {
            let start = std::alloc::alloc(layout);
            let Some(start) = NonNull::new(start) else { std::alloc::handle_alloc_error(layout) };
            #[cfg(target_os = "linux")]
            if huge {
                // Advice only: without huge pages everything works, a little slower.
                libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE);
            }
            start.as_ptr().write_bytes(0, layout.size());
            AlignedBytes { start, layout, len }
        }
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
        let mut aligned = AlignedBytes::zeroed(bytes.len());
        aligned.copy_from_slice(bytes);
        aligned
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

//! Channels side by side, as files have them, and apart, as tensors do.

/// `a0 b0 a1 b1` from `a0 a1 b0 b1`.
pub fn together<T: Copy>(apart: &[T], channels: usize) -> Vec<T> {
    let each = apart.len() / channels;
    (0..apart.len()).map(|i| apart[i % channels * each + i / channels]).collect()
}

/// `a0 a1 b0 b1` from `a0 b0 a1 b1`; what is left of a last group that is not whole is dropped.
pub fn apart<T: Copy>(together: &[T], channels: usize) -> Vec<T> {
    let each = together.len() / channels;
    (0..channels * each).map(|i| together[i % each * channels + i / each]).collect()
}

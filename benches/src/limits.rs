//! What this machine can do at most, measured on one core: multiply-adds in registers, bytes read from memory.

use crate::timing::time;

/// f32 operations a second with every operand in a register, a multiply-add counting as two.
pub fn peak_flops() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature is there.
            let (best, _) = time(|| unsafe { avx512() }, 0.005, 41);
            return (ROUNDS * CHAINS * 16 * 2) as f64 / best;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features are there.
            let (best, _) = time(|| unsafe { avx2() }, 0.005, 41);
            return (ROUNDS * CHAINS / 2 * 8 * 2) as f64 / best;
        }
    }
    f64::NAN
}

#[cfg(target_arch = "x86_64")]
const ROUNDS: usize = 20_000;
/// Independent multiply-adds: enough to hide their latency.
#[cfg(target_arch = "x86_64")]
const CHAINS: usize = 24;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_ps(1.000_001), _mm512_set1_ps(1e-9));
    let mut sums = [_mm512_set1_ps(1.0); CHAINS];
    for _ in 0..ROUNDS {
        for s in &mut sums {
            *s = _mm512_fmadd_ps(*s, a, b);
        }
    }
    std::hint::black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() {
    use std::arch::x86_64::*;
    let (a, b) = (_mm256_set1_ps(1.000_001), _mm256_set1_ps(1e-9));
    let mut sums = [_mm256_set1_ps(1.0); CHAINS / 2];
    for _ in 0..ROUNDS {
        for s in &mut sums {
            *s = _mm256_fmadd_ps(*s, a, b);
        }
    }
    std::hint::black_box(sums);
}

/// Bytes a second that one core reads from memory, far beyond the caches: from huge pages, each line fetched ahead of
/// its use, which is what the fastest kernels do too.
pub fn read_bandwidth() -> f64 {
    const AHEAD: usize = 4096;
    let data = tensor::AlignedBytes::zeroed(256 << 20);
    let sum = || {
        let mut parts = [0u64; 8];
        for line in data.chunks_exact(64) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch does not access memory.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast());
            }
            for (part, word) in parts.iter_mut().zip(line.chunks_exact(8)) {
                *part ^= u64::from_ne_bytes(word.try_into().expect("eight bytes"));
            }
        }
        std::hint::black_box(parts);
    };
    let (best, _) = time(sum, 0.05, 9);
    data.len() as f64 / best
}

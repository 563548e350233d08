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

/// Bytes a second that one core reads from memory, far beyond the caches.
pub fn read_bandwidth() -> f64 {
    let data = vec![1u64; 32 << 20];
    let sum = || {
        let mut parts = [0u64; 8];
        for chunk in data.chunks_exact(8) {
            parts.iter_mut().zip(chunk).for_each(|(p, x)| *p ^= x);
        }
        std::hint::black_box(parts);
    };
    let (best, _) = time(sum, 0.05, 9);
    (data.len() * 8) as f64 / best
}

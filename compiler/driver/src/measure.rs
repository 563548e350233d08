//! Timing, and what this machine can do at most: multiply-adds in registers, bytes read from memory.

use std::sync::Barrier;
use std::time::Instant;

/// Best and median seconds of a call, over `rounds` batches of about `batch` seconds each.
pub fn time(mut call: impl FnMut(), batch: f64, rounds: usize) -> (f64, f64) {
    call();
    let start = Instant::now();
    call();
    let once = start.elapsed().as_secs_f64().max(1e-8);
    let calls = ((batch / once).ceil() as usize).max(1);
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_secs_f64() / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

/// Megabytes of memory that this process has held at most.
pub fn peak_rss_mb() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `getrusage` fills the structure it is given.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    // Kibibytes on Linux.
    usage.ru_maxrss as f64 * 1024.0 / 1e6
}

/// What some threads together can do at most.
///
/// ```
/// let limits = nnc::measure::Limits { flops: 100e9, bandwidth: 10e9 };
/// // A product of 100 rows, bound by operations; an addition, bound by memory.
/// assert_eq!((limits.least(2e9, 4e6), limits.least(1e6, 12e6)), (0.02, 0.0012));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// f32 operations a second.
    pub flops: f64,
    /// Bytes a second read from memory.
    pub bandwidth: f64,
}

impl Limits {
    /// Measures this machine, for about half a second.
    pub fn of(threads: usize) -> Limits {
        let together = |measure: fn() -> f64| {
            let start = Barrier::new(threads);
            std::thread::scope(|scope| {
                let run = || {
                    start.wait();
                    measure()
                };
                let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
                let own = run();
                own + others.into_iter().map(|o| o.join().unwrap_or(0.0)).sum::<f64>()
            })
        };
        Limits { flops: together(peak_flops), bandwidth: together(read_bandwidth) }
    }

    /// Seconds that so many operations and bytes take at least, if the bytes come from memory.
    pub fn least(&self, work: f64, bytes: f64) -> f64 {
        (work / self.flops).max(bytes / self.bandwidth)
    }
}

/// f32 operations a second of one core with every operand in a register, a multiply-add counting as two. Not a number where
/// there are no wide vectors.
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

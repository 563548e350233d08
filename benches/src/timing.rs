//! Timing: medians of batches, and the machine's own limits to compare with.

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

//! Times one training step beside peers: initial weights, batch and ten losses come from an `.npz` file that the peers' side wrote.
//!
//! ```text
//! train_step WORK/train-mlp-adam --threads 1 --seconds 2
//! ```
//!
//! Prints one line of JSON, with `--profile` each kernel too; `max_err` is the largest relative difference of the first ten losses. Times include making each batch.

use nnc::train::{Event, TrainError};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, otherwise: f64| {
        let at = arguments.iter().position(|a| a == name);
        at.and_then(|i| arguments.get(i + 1)?.parse::<f64>().ok()).unwrap_or(otherwise)
    };
    let path = arguments.first().ok_or("usage: train_step WORK/NAME --threads N --seconds S")?;
    let (path, threads) = (Path::new(path), option("--threads", 1.0) as usize);
    let name = path.file_name().and_then(|n| n.to_str()).ok_or("no name")?;
    let archive = path.with_extension("npz");

    let start = Instant::now();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.nn"));
    let options = nnc::TrainOptions { threads, seed: 0, data: path.parent().map(Into::into) };
    let mut trainer = nnc::compile(model)?.trainer(None, &options)?;
    for kept in trainer.kept.iter().map(|k| k.name.clone()).collect::<Vec<_>>() {
        let own = kept.strip_prefix("net.").unwrap_or(&kept);
        if let Ok(value) = nnc::npy::read_from_archive(&archive, &format!("param.{own}")) {
            trainer.session.set_kept(&kept, &value.bytes);
        }
    }
    let expected = nnc::npy::read_from_archive(&archive, "losses")?.to_f64();
    let budget = Duration::from_secs_f64(option("--seconds", 2.0));
    let (mut losses, mut times): (Vec<f64>, Vec<Duration>) = (vec![], vec![]);
    let (mut first, mut last) = (Duration::ZERO, Instant::now());
    let stop = AtomicBool::new(false);
    let mut begin = Instant::now();
    trainer.run(&stop, &mut |_, event| -> Result<(), TrainError> {
        let Event::Epoch { losses: each, .. } = event else { return Ok(()) };
        let now = Instant::now();
        if losses.len() < expected.len() {
            losses.push(each[0].1);
            (first, begin) = (start.elapsed(), now);
        } else {
            times.push(now - last);
            stop.store(now - begin > budget && times.len() >= 7, Ordering::Relaxed);
        }
        last = Instant::now();
        Ok(())
    })?;
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let error = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max);
    let line = json!({
        "median_us": at(0.5), "min_us": at(0.0), "p95_us": at(0.95), "runs": times.len(), "max_err": error,
        "first_result_ms": first.as_secs_f64() * 1e3, "peak_rss_mb": nnc::measure::peak_rss_mb(),
    });
    println!("{line}");
    if arguments.iter().any(|a| a == "--profile") {
        for k in trainer.session.profile(trainer.steps[0].entry)? {
            let (ns, work, bytes) = (k.nanoseconds.max(1) as f64, k.work as f64, k.bytes as f64);
            println!(
                "{:<12} {:8.1} µs {:7.1} GFLOP/s {:6.1} GB/s  {}",
                k.name,
                ns / 1e3,
                work / ns,
                bytes / ns,
                k.source
            );
        }
    }
    Ok(())
}

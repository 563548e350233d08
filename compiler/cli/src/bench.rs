//! `nnc bench`: the time of one call.

use crate::{Failure, Source, inputs};
use nnc::Timed;
use serde_json::json;
use std::fmt::Write;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    given: inputs::Given,
    /// Seconds to measure, after a quarter of that to warm up
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Also time each kernel
    #[arg(long)]
    profile: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("expected seconds above 0, at most 3600".into()),
    }
}

/// Fewest calls that are measured, whatever the time.
const LEAST: usize = 7;

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let given = &arguments.given;
    let start = Instant::now();
    let (program, stages) = given.program(&arguments.source, true)?;
    let entry = given.entry(&program)?;
    let tensors = given.tensors(entry, true)?;
    let mut session = program.session(given.threads as usize);
    let mut results = session.call(&entry.name, &tensors)?;
    let first = start.elapsed();

    let index = program.entries().iter().position(|e| e.name == entry.name).unwrap_or(0);
    let mut times: Vec<Duration> = vec![];
    let (warm, budget) = (Duration::from_secs_f64(arguments.seconds / 4.0), Duration::from_secs_f64(arguments.seconds));
    let begin = Instant::now();
    while begin.elapsed() < warm {
        session.call_into(index, &tensors, &mut results)?;
    }
    let begin = Instant::now();
    while begin.elapsed() < budget || times.len() < LEAST {
        let call = Instant::now();
        session.call_into(index, &tensors, &mut results)?;
        times.push(call.elapsed());
    }
    times.sort();
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    let at = |share: f64| micros(times[((times.len() - 1) as f64 * share) as usize]);
    let (median, least, late) = (at(0.5), at(0.0), at(0.95));
    let profile = if arguments.profile { profile(session.engine(), index) } else { vec![] };
    if arguments.json {
        let kernels: Vec<_> =
            profile.iter().map(|s| json!({"kernel": s.name, "us": s.nanoseconds as f64 / 1e3})).collect();
        let mut line = json!({
            "median_us": median, "min_us": least, "p95_us": late, "runs": times.len(),
            "first_result_ms": first.as_secs_f64() * 1e3, "peak_rss_mb": peak_rss_mb(),
        });
        if arguments.profile {
            line["kernels"] = kernels.into();
        }
        return Ok(format!("{line}\n"));
    }
    let mut out = String::new();
    let _ = writeln!(out, "median {median:.2} µs, least {least:.2} µs, 95 % below {late:.2} µs, {} calls", times.len());
    let _ = writeln!(out, "first result after {:.1} ms", first.as_secs_f64() * 1e3);
    for stage in &stages {
        let _ = writeln!(out, "  {:<10} {:8.2} ms", stage.name, stage.time.as_secs_f64() * 1e3);
    }
    for step in &profile {
        let _ = writeln!(out, "  {:<14} {:9.2} µs", step.name, step.nanoseconds as f64 / 1e3);
    }
    Ok(out)
}

/// The launches with the median of their times over some rounds.
fn profile(session: &mut nnc::EngineSession, entry: usize) -> Vec<Timed> {
    const ROUNDS: usize = 15;
    let rounds: Vec<Vec<Timed>> = (0..ROUNDS).map(|_| session.profile(entry)).collect();
    let median = |i: usize| {
        let mut times: Vec<u64> = rounds.iter().map(|r| r[i].nanoseconds).collect();
        times.sort();
        times[ROUNDS / 2]
    };
    rounds[0].iter().enumerate().map(|(i, step)| Timed { nanoseconds: median(i), ..step.clone() }).collect()
}

fn peak_rss_mb() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `getrusage` fills the structure it is given.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    // Kibibytes on Linux.
    usage.ru_maxrss as f64 * 1024.0 / 1e6
}

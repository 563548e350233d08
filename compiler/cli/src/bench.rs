//! `nnc bench`: the time of one call.

use crate::inputs::{Given, Made};
use crate::{Failure, Source};
use nnc::measure::{Limits, peak_rss_mb};
use nnc::{Stage, Timed};
use serde_json::json;
use std::fmt::Write;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    given: Given,
    /// Seconds to measure, after a quarter of that to warm up
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Take the compiled model from this user's cache, as `run` does, so that the time to the first result is that of a
    /// second start
    #[arg(long)]
    cached: bool,
    /// Also time each kernel
    #[arg(long)]
    profile: bool,
    /// Time each kernel, and say what share it reaches of what this machine can do at most, which is measured first
    #[arg(long)]
    roofline: bool,
    /// Compare the results with the model's definition, evaluated in f64, which takes seconds to minutes
    #[arg(long)]
    verify: bool,
    /// Compare a result with an .npy file and tell the largest difference; given for some or all results
    #[arg(long, value_name = "NAME=FILE", value_parser = crate::pair, conflicts_with = "verify")]
    expect: Vec<(String, String)>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("expected seconds above 0, at most 3600".into()),
    }
}

/// Fewest calls that are measured, whatever the time.
const LEAST: usize = 7;

/// The results that files hold; those that are not given are as they came out.
fn expected(
    entry: &nnc::Entry,
    given: &[(String, String)],
    results: &[nnc::Tensor],
) -> Result<Vec<nnc::Array>, Failure> {
    let ports: Vec<&str> = entry.outputs.iter().map(|p| p.name.as_str()).collect();
    if let Some((name, _)) = given.iter().find(|(name, _)| !ports.contains(&name.as_str())) {
        let text = format!("error: `{}` has no result `{name}`; it gives {}", entry.name, ports.join(", "));
        return Err(Failure(text));
    }
    let one = |(port, result): (&&str, &nnc::Tensor)| {
        let Some((_, file)) = given.iter().find(|(name, _)| name == port) else { return Ok(nnc::Array::from(result)) };
        let tensor = nnc::npy::read(std::path::Path::new(file)).map_err(nnc::Error::from)?;
        match tensor.shape == result.shape {
            true => Ok(nnc::Array::from(&tensor)),
            false => {
                let (got, expected) = (&result.shape, &tensor.shape);
                Err(Failure(format!("error: `{port}` has the shape {got:?}, {file} has {expected:?}")))
            }
        }
    };
    ports.iter().zip(results).map(one).collect()
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let given = &arguments.given;
    let start = Instant::now();
    let Made { program, from } = given.program(&arguments.source, true, arguments.cached)?;
    let index = given.entry(&program)?;
    let entry = &program.entries()[index];
    let tensors = given.tensors(entry, true)?;
    let mut session = program.session(given.threads as usize);
    session.seed(given.seed);
    let results = session.call(&entry.name, &tensors)?;
    let first = start.elapsed();
    let max_error = match (&from, arguments.verify) {
        _ if !arguments.expect.is_empty() => {
            Some(nnc::max_error(&results, &expected(entry, &arguments.expect, &results)?))
        }
        (_, false) => None,
        (None, true) => return Err(Failure("error: --verify needs the source of the model".into())),
        (Some((_, values)), true) => {
            let model = arguments.source.compiler()?.elaborate()?;
            let graph = model.entries.iter().find(|e| e.name == entry.name).map(|e| &e.graph);
            let graph = graph.ok_or_else(|| nnc::Error::Defect("an entry that nobody wrote".into()))?;
            Some(nnc::max_error(&results, &nnc::reference(graph, &tensors, values, given.seed)?))
        }
    };

    let mut room = session.engine().room(index, &tensors).map_err(nnc::Error::from)?;
    let mut times: Vec<Duration> = vec![];
    let (warm, budget) = (Duration::from_secs_f64(arguments.seconds / 4.0), Duration::from_secs_f64(arguments.seconds));
    let begin = Instant::now();
    while begin.elapsed() < warm {
        session.call_into(index, &tensors, &mut room)?;
    }
    let begin = Instant::now();
    while begin.elapsed() < budget || times.len() < LEAST {
        let call = Instant::now();
        session.call_into(index, &tensors, &mut room)?;
        times.push(call.elapsed());
    }
    times.sort();
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    let at = |share: f64| micros(times[((times.len() - 1) as f64 * share) as usize]);
    let kernels = match arguments.profile || arguments.roofline {
        true => profile(session.engine(), index)?,
        false => vec![],
    };
    let report = Report {
        median: at(0.5),
        least: at(0.0),
        late: at(0.95),
        calls: times.len(),
        first,
        max_error,
        stages: from.map_or(vec![], |(model, _)| model.stages),
        kernels,
        limits: arguments.roofline.then(|| Limits::of(given.threads as usize)),
    };
    Ok(if arguments.json { report.json() } else { report.text() })
}

/// What was measured, times in microseconds.
struct Report {
    median: f64,
    least: f64,
    /// Of the slowest twentieth the fastest.
    late: f64,
    calls: usize,
    /// From the start to the first result.
    first: Duration,
    max_error: Option<f64>,
    stages: Vec<Stage>,
    kernels: Vec<Timed>,
    limits: Option<Limits>,
}

impl Report {
    fn json(&self) -> String {
        let mut line = json!({
            "median_us": self.median, "min_us": self.least, "p95_us": self.late, "runs": self.calls,
            "first_result_ms": self.first.as_secs_f64() * 1e3, "peak_rss_mb": peak_rss_mb(),
        });
        if let Some(error) = self.max_error {
            line["max_err"] = error.into();
        }
        if let Some(limits) = &self.limits {
            line["limits"] = json!({"gflops": limits.flops / 1e9, "gbytes_per_s": limits.bandwidth / 1e9});
        }
        if !self.kernels.is_empty() {
            let kernel = |k: &Timed| {
                let mut row = json!({
                    "kernel": k.name, "source": k.source, "us": k.nanoseconds as f64 / 1e3, "operations": k.work,
                    "bytes": k.bytes,
                });
                if let Some(limits) = &self.limits {
                    row["share_of_limit"] = share(k, limits).into();
                }
                row
            };
            line["kernels"] = self.kernels.iter().map(kernel).collect();
        }
        format!("{line}\n")
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let Report { median, least, late, calls, .. } = self;
        let _ = writeln!(out, "median {median:.2} µs, least {least:.2} µs, 95 % below {late:.2} µs, {calls} calls");
        let _ = writeln!(out, "first result after {:.1} ms", self.first.as_secs_f64() * 1e3);
        if let Some(error) = self.max_error {
            let _ = writeln!(out, "largest error {error:.2e} of the largest result");
        }
        for stage in &self.stages {
            let _ = writeln!(out, "  {:<10} {:8.2} ms", stage.name, stage.time.as_secs_f64() * 1e3);
        }
        if let Some(limits) = &self.limits {
            let (flops, bandwidth) = (limits.flops / 1e9, limits.bandwidth / 1e9);
            let _ = writeln!(out, "this machine: {flops:.1} GFLOP/s in f32, {bandwidth:.1} GB/s from memory");
            let _ = writeln!(out, "  kernel                 µs   GFLOP/s     GB/s    share  bound by    source");
        }
        for k in &self.kernels {
            let (name, micros) = (&k.name, k.nanoseconds as f64 / 1e3);
            let Some(limits) = &self.limits else {
                let _ = writeln!(out, "  {name:<14} {micros:9.2} µs  {}", k.source);
                continue;
            };
            let (work, bytes) = (k.work as f64, k.bytes as f64);
            let bound = if work / limits.flops > bytes / limits.bandwidth { "operations" } else { "memory" };
            let nanoseconds = k.nanoseconds.max(1) as f64;
            let _ = writeln!(
                out,
                "  {name:<14} {micros:10.2} {:9.1} {:8.1} {:7.0}%  {bound:<10}  {}",
                work / nanoseconds,
                bytes / nanoseconds,
                share(k, limits) * 100.0,
                k.source
            );
        }
        if self.limits.is_some() {
            out += "  a kernel bound by memory passes 100 % where what it reads is still in a cache\n";
        }
        out
    }
}

/// The least time that the machine's limits allow, as a share of the time that a kernel took.
fn share(kernel: &Timed, limits: &Limits) -> f64 {
    limits.least(kernel.work as f64, kernel.bytes as f64) * 1e9 / kernel.nanoseconds.max(1) as f64
}

/// The launches with the median of their times over some rounds.
fn profile(session: &mut nnc::EngineSession, entry: usize) -> Result<Vec<Timed>, Failure> {
    const ROUNDS: usize = 15;
    let rounds = (0..ROUNDS).map(|_| session.profile(entry)).collect::<Result<Vec<_>, _>>()?;
    let median = |i: usize| {
        let mut times: Vec<u64> = rounds.iter().map(|r| r[i].nanoseconds).collect();
        times.sort();
        times[ROUNDS / 2]
    };
    Ok(rounds[0].iter().enumerate().map(|(i, step)| Timed { nanoseconds: median(i), ..step.clone() }).collect())
}

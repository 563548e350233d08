//! `nnc doctor`: what this machine offers.

use crate::Failure;
use serde_json::json;
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Arguments {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let here = nnc::Isa::host();
    let runs: Vec<String> = nnc::Isa::ALL.iter().filter(|i| **i <= here).map(|i| i.to_string()).collect();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let caches = caches();
    let name = cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into());
    if arguments.json {
        let caches = caches.iter().map(|(name, size)| (name.clone(), size.as_str().into())).collect();
        let line = json!({
            "version": env!("CARGO_PKG_VERSION"), "cpu": name, "arch": std::env::consts::ARCH, "isas": runs,
            "threads": threads, "caches": serde_json::Value::Object(caches),
        });
        return Ok(format!("{line}\n"));
    }
    let mut out = String::new();
    let _ = writeln!(out, "nnc {}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "cpu       {name}");
    let _ = writeln!(out, "code for  {}", runs.join(", "));
    let _ = writeln!(out, "threads   {threads}");
    for (name, size) in &caches {
        let _ = writeln!(out, "{name:<9} {size}");
    }
    Ok(out)
}

fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().into())
}

/// Names and sizes of the first core's caches for data, as Linux tells them.
fn caches() -> Vec<(String, String)> {
    let read = |i: usize, what: &str| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{i}/{what}")).ok()?;
        Some(text.trim().to_string())
    };
    let cache = |i: usize| {
        let (level, kind, size) = (read(i, "level")?, read(i, "type")?, read(i, "size")?);
        (kind != "Instruction").then(|| (format!("L{level} cache"), size))
    };
    (0..8).filter_map(cache).collect()
}

//! `nnc doctor`: what this machine offers.

use crate::Failure;
use crate::text::size;
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
    let (memory, huge_pages, gpu, nvrtc) = (memory(), huge_pages(), gpu(), nnc::Nvrtc::open());
    let name = cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into());
    if arguments.json {
        let caches = caches.iter().map(|(name, size)| (name.clone(), size.as_str().into())).collect();
        let line = json!({
            "version": env!("CARGO_PKG_VERSION"), "cpu": name, "arch": std::env::consts::ARCH, "isas": runs,
            "threads": threads, "caches": serde_json::Value::Object(caches), "memory_bytes": memory.map(|(all, _)| all),
            "free_bytes": memory.map(|(_, free)| free), "huge_pages": huge_pages, "gpu": gpu.as_ref().ok(),
            "nvrtc": nvrtc.as_ref().ok().map(nnc::Nvrtc::name),
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
    if let Some((all, free)) = memory {
        let _ = writeln!(out, "memory    {}, {} free", size(all), size(free));
    }
    if let Some(setting) = huge_pages {
        let _ = writeln!(out, "pages     huge ones: {setting}");
    }
    let _ = writeln!(out, "gpu       {}", gpu.unwrap_or_else(|e| e.to_string()));
    let _ = writeln!(out, "compiler  {}", nvrtc.map_or_else(|e| e.to_string(), |n| n.name()));
    Ok(out)
}

/// Bytes of memory, and of those that are free, as Linux tells them.
fn memory() -> Option<(i64, i64)> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = info.lines().find_map(|l| l.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<i64>().ok()? * 1024)
    };
    Some((bytes("MemTotal:")?, bytes("MemAvailable:")?))
}

/// Whether weights may lie in huge pages: always, madvise or never.
fn huge_pages() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.into())
}

/// The GPU that programs run on.
fn gpu() -> Result<String, nnc::DeviceError> {
    let gpu = nnc::Gpu::open()?;
    Ok(format!("{}, {}, {}", gpu.name()?, gpu.arch()?, size(gpu.memory()? as i64)))
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

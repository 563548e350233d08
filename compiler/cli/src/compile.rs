//! `nnc compile`: what compiling takes and yields, and programs in files.

use crate::text::size;
use crate::{Failure, Source, inputs};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    weights: inputs::Weights,
    /// Write the program with its weights, for `nnc run` and `nnc bench`: it holds machine code, so trust such a file as
    /// you would an executable
    #[arg(short, long, value_name = "FILE.nnc")]
    output: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let model = arguments.source.compiler()?.build()?;
    if let Some(path) = &arguments.output {
        model.with_values(&arguments.weights.values(&model)?)?.save(path)?;
    }
    let entries: Vec<&str> = model.entries.iter().map(|e| e.name.as_str()).collect();
    if arguments.json {
        let stages = model.stages.iter().map(|s| (s.name.clone(), (s.time.as_secs_f64() * 1e3).into())).collect();
        let line = json!({
            "model": model.name, "entries": entries, "kernels": model.kernels(), "code_bytes": model.code_bytes(),
            "target": model.target(), "stages_ms": serde_json::Value::Object(stages),
        });
        return Ok(format!("{line}\n"));
    }
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {}; {} kernels, {} of code for {}",
        model.name,
        entries.join(", "),
        model.kernels(),
        size(model.code_bytes() as i64),
        model.target()
    );
    for stage in &model.stages {
        let _ = writeln!(out, "  {:<10} {:8.2} ms", stage.name, stage.time.as_secs_f64() * 1e3);
    }
    Ok(out)
}

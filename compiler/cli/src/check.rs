//! `nnc check`: what a model is, without compiling it.

use crate::text::{grouped, size};
use crate::{Failure, Source};
use serde_json::json;
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let mut compiler = arguments.source.compiler()?;
    let model = compiler.elaborate()?;
    let count = |kind: &str| -> i64 {
        let of_kind = model.stored.iter().filter(|s| format!("{:?}", s.storage).eq_ignore_ascii_case(kind));
        of_kind.filter_map(|s| s.ty.elements().as_int()).sum()
    };
    let parameters = count("param");
    let bytes: i64 =
        model.stored.iter().filter_map(|s| Some(s.ty.elements().as_int()? * s.ty.elem.size() as i64)).sum();
    let signature = |e: &nnc::ModelEntry| {
        let inputs = e.graph.operands.iter().filter(|o| o.storage == nnc::Storage::Input);
        let inputs: Vec<String> = inputs.map(|o| format!("{}: {}", o.name, e.graph.ty(o.value))).collect();
        let outputs: Vec<String> = e.graph.outputs.iter().map(|(n, v)| format!("{n}: {}", e.graph.ty(*v))).collect();
        (inputs, outputs)
    };
    if arguments.json {
        let entries = model.entries.iter().map(|e| {
            let (inputs, outputs) = signature(e);
            let guards: Vec<&str> = e.graph.guards.iter().map(|g| g.text.as_str()).collect();
            json!({"name": e.name, "inputs": inputs, "outputs": outputs, "guards": guards, "nodes": e.graph.len()})
        });
        let entries: Vec<_> = entries.collect();
        return Ok(format!(
            "{}\n",
            json!({"model": model.name, "parameters": parameters, "bytes": bytes, "entries": entries})
        ));
    }
    let mut out = String::new();
    let _ = writeln!(out, "{}: {} parameters, {}", model.name, grouped(parameters), size(bytes));
    for entry in &model.entries {
        let (inputs, outputs) = signature(entry);
        let _ = writeln!(out, "  {}({})\n    -> ({})", entry.name, inputs.join(", "), outputs.join(", "));
        for guard in &entry.graph.guards {
            let _ = writeln!(out, "    where {}", guard.text);
        }
    }
    Ok(out)
}

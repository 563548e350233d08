//! `nnc check`: what a model is, without machine code for it.

use crate::text::{grouped, size};
use crate::{Failure, Source};
use serde_json::json;
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Leave out bytes and memory, for which most of compiling is needed
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let mut compiler = arguments.source.compiler()?;
    let (model, training) = compiler.check()?;
    let kinds = [nnc::Storage::Param, nnc::Storage::State, nnc::Storage::Cache];
    let [parameters, states, caches] = kinds.map(|kind| Total::of(model.stored.iter().filter(|s| s.storage == kind)));
    let needs = |entry: &nnc::ModelEntry| (!arguments.quick).then(|| compiler.needs(&model, entry));
    if arguments.json {
        let ports = |ports: Vec<(&str, nnc::TensorType)>| -> Vec<String> {
            ports.iter().map(|(name, ty)| format!("{name}: {ty}")).collect()
        };
        let entries = model.entries.iter().map(|e| {
            let guards: Vec<&str> = e.graph.guards.iter().map(|g| g.text.as_str()).collect();
            let mut row = json!({
                "name": e.name, "inputs": ports(e.inputs()), "outputs": ports(e.outputs()), "guards": guards,
                "nodes": e.graph.len(), "operations": nnc::operations(&e.graph).to_string(),
            });
            match needs(e) {
                None => {}
                Some(Ok(needs)) => {
                    row["moved_bytes"] = needs.moved.to_string().into();
                    row["peak_bytes"] = needs.peak.to_string().into();
                }
                Some(Err(error)) => row["not_compiled"] = error.to_string().into(),
            }
            row
        });
        let entries: Vec<_> = entries.collect();
        let training = training.iter().map(|t| {
            let steps: Vec<&str> = t.steps.iter().map(|s| s.name.as_str()).collect();
            let metrics: Vec<&str> = t.metrics.iter().map(|m| m.graph.name.as_str()).collect();
            json!({"name": t.name, "steps": steps, "metrics": metrics})
        });
        let line = json!({
            "model": model.name, "parameters": parameters.elements, "bytes": parameters.bytes,
            "state_bytes": states.bytes, "cache_bytes": caches.formula, "entries": entries,
            "training": training.collect::<Vec<_>>(),
        });
        return Ok(format!("{line}\n"));
    }
    let mut out = String::new();
    let _ = writeln!(out, "{}: {} parameters, {}", model.name, grouped(parameters.elements), size(parameters.bytes));
    if states.bytes > 0 {
        let _ = writeln!(out, "  state, saved but not trained: {}", size(states.bytes));
    }
    if caches.count > 0 {
        let _ = writeln!(out, "  caches, one of each for a session: {} bytes", caches.formula);
    }
    for entry in &model.entries {
        let text = |(name, ty): &(&str, nnc::TensorType)| format!("{name}: {ty}");
        let inputs: Vec<String> = entry.inputs().iter().map(text).collect();
        let outputs: Vec<String> = entry.outputs().iter().map(text).collect();
        let _ = writeln!(out, "  {}({})\n    -> ({})", entry.name, inputs.join(", "), outputs.join(", "));
        for guard in &entry.graph.guards {
            let _ = writeln!(out, "    where {}", guard.text);
        }
        let _ = writeln!(out, "    operations: {}", number(&nnc::operations(&entry.graph)));
        match needs(entry) {
            None => {}
            Some(Ok(needs)) => {
                let _ = writeln!(out, "    bytes moved: {}", number(&needs.moved));
                let _ = writeln!(out, "    peak memory: {} bytes, beside what is stored", largest(&needs.peak));
            }
            // The model is right all the same.
            Some(Err(error)) => {
                let _ = writeln!(out, "    cannot be compiled yet: {error}");
            }
        }
    }
    for block in &training {
        let _ = writeln!(out, "  train {}", block.name);
        for step in &block.steps {
            let _ = writeln!(out, "    {} updates {} tensors", step.name, step.graph.updates.len());
        }
        for metric in &block.metrics {
            let _ = writeln!(out, "    metric {}", metric.graph.name);
        }
    }
    Ok(out)
}

/// A size that is the largest of several, all named in one list.
fn largest(size: &nnc::Dim) -> String {
    let parts = size.alternatives();
    match parts.len() {
        1 => number(size),
        _ => format!("max({})", parts.into_iter().map(number).collect::<Vec<_>>().join(", ")),
    }
}

fn number(dim: &nnc::Dim) -> String {
    dim.as_int().map_or_else(|| dim.to_string(), grouped)
}

/// What is stored of one kind, all together.
#[derive(Default)]
struct Total {
    count: usize,
    elements: i64,
    bytes: i64,
    /// The bytes, where they depend on the caller's sizes.
    formula: String,
}

impl Total {
    fn of<'s>(stored: impl Iterator<Item = &'s nnc::Stored>) -> Total {
        let mut total = Total::default();
        let mut bytes = nnc::Dim::int(0);
        for s in stored {
            let elements = s.ty.elements();
            total.count += 1;
            total.elements += elements.as_int().unwrap_or(0);
            bytes = bytes + elements * nnc::Dim::int(s.ty.elem.size() as i64);
        }
        total.bytes = bytes.as_int().unwrap_or(0);
        total.formula = bytes.to_string();
        total
    }
}

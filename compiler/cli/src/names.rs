//! `nnc names`: what a model stores, and where a checkpoint has it.

use crate::{Failure, Source};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Match the names with these weights, safetensors files, and say what does not fit
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Which `weights` block of the model to apply
    #[arg(long, value_name = "NAME", requires = "against")]
    rules: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let model = arguments.source.compiler()?.elaborate()?;
    let sources = match arguments.against.is_empty() {
        true => vec![],
        false => {
            nnc::sources(&model.name, &model.stored, &model.rules, &arguments.against, arguments.rules.as_deref())?
        }
    };
    let mut rows = vec![];
    for stored in &model.stored {
        let source = sources.iter().find(|s| s.stored == stored.name);
        let from = source.map_or(String::new(), |s| s.to_string());
        let kind = format!("{:?}", stored.storage).to_lowercase();
        rows.push((kind, stored.name.as_str(), stored.ty.to_string(), from));
    }
    if arguments.json {
        let rows = rows.iter().map(|(kind, name, ty, from)| {
            let mut row = json!({"name": name, "type": ty, "storage": kind});
            if !from.is_empty() {
                row["from"] = from.as_str().into();
            }
            row
        });
        return Ok(format!("{}\n", json!({"model": model.name, "stored": rows.collect::<Vec<_>>()})));
    }
    let width = |f: fn(&(String, &str, String, String)) -> usize| rows.iter().map(f).max().unwrap_or(0);
    let (names, types) = (width(|r| r.1.chars().count()), width(|r| r.2.chars().count()));
    let mut out = String::new();
    for (kind, name, ty, from) in &rows {
        let line = match from.is_empty() || from == name {
            true => format!("{kind:<5} {name:<names$}  {ty}"),
            false => format!("{kind:<5} {name:<names$}  {ty:<types$}  from {from}"),
        };
        let _ = writeln!(out, "{line}");
    }
    if !arguments.against.is_empty() {
        let _ = writeln!(out, "all {} are there", rows.len());
    }
    Ok(out)
}

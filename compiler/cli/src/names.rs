//! `nnc names`: what a model stores, and where a checkpoint has it.

use crate::{Failure, Source, print};
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
        true => Ok(vec![]),
        false => nnc::sources(&model.name, &model.stored, &model.rules, &arguments.against, arguments.rules.as_deref()),
    };
    if arguments.json {
        let sources = match sources {
            Ok(sources) => sources,
            Err(error) => {
                if let nnc::Error::Mismatch { mismatch, .. } = &error {
                    print(&format!("{}\n", json!({"model": model.name, "differences": differences(mismatch)})))?;
                }
                return Err(error.into());
            }
        };
        let rows = model.stored.iter().map(|stored| {
            let mut row = json!({"name": stored.name, "type": stored.ty.to_string(), "storage": word(stored.storage)});
            if let Some(source) = sources.iter().find(|s| s.stored == stored.name) {
                row["from"] = source.to_string().into();
            }
            row
        });
        return Ok(format!("{}\n", json!({"model": model.name, "stored": rows.collect::<Vec<_>>()})));
    }
    let sources = sources?;
    let name = |s: &nnc::Stored| s.name.chars().count();
    let names = model.stored.iter().map(name).max().unwrap_or(0);
    let types = model.stored.iter().map(|s| s.ty.to_string().chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for stored in &model.stored {
        let (kind, name, ty) = (word(stored.storage), &stored.name, stored.ty.to_string());
        let from = sources.iter().find(|s| s.stored == *name).map(|s| s.to_string()).filter(|from| from != name);
        let _ = match from {
            None => writeln!(out, "{kind:<5} {name:<names$}  {ty}"),
            Some(from) => writeln!(out, "{kind:<5} {name:<names$}  {ty:<types$}  from {from}"),
        };
    }
    if !arguments.against.is_empty() {
        let _ = writeln!(out, "all {} are there", model.stored.len());
    }
    Ok(out)
}

/// `param`, `state` or `cache`
fn word(storage: nnc::Storage) -> String {
    format!("{storage:?}").to_lowercase()
}

fn differences(mismatch: &nnc::weights::Mismatch) -> serde_json::Value {
    let missing = mismatch.missing.iter().map(|(name, nearest)| json!({"name": name, "nearest": nearest}));
    let misshaped = (mismatch.misshaped.iter())
        .map(|(name, expected, found)| json!({"name": name, "expected": expected, "found": found}));
    let doubled = mismatch.doubled.iter().map(|(name, from)| json!({"name": name, "from": from}));
    json!({
        "missing": missing.collect::<Vec<_>>(), "unused": mismatch.unused,
        "misshaped": misshaped.collect::<Vec<_>>(), "doubled": doubled.collect::<Vec<_>>(),
        "suggested_rules": mismatch.rules,
    })
}

//! `nnc doc`: signatures and documentation, of the library or of a file.

use crate::Failure;
use nnc::doc::{self, Doc};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// What to look up; everything is listed if not given
    name: Option<String>,
    /// Look in this file first
    #[arg(long)]
    file: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let mut docs = match &arguments.file {
        None => vec![],
        Some(path) => {
            let text = tensor::read_text(path)?;
            let name = path.display().to_string();
            doc::file(&name, &text)
                .ok_or_else(|| Failure(format!("error: {name} does not parse; nnc check says why")))?
        }
    };
    if arguments.file.is_none() || arguments.name.is_some() {
        docs.extend(doc::library());
    }
    let Some(name) = &arguments.name else { return Ok(list(&docs)) };
    match doc::find(name, &docs) {
        Ok(doc) => {
            let parts = [&doc.signature, &doc.text, &doc.from].map(String::as_str);
            let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
            Ok(parts.join("\n\n") + "\n")
        }
        Err(near) => {
            let hint = near.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
            Err(Failure(format!("error: there is no `{name}`{hint}")))
        }
    }
}

/// Names and first sentences, by file.
fn list(docs: &[Doc]) -> String {
    let width = docs.iter().map(|d| d.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let mut from = "";
    for doc in docs {
        if doc.from != from {
            from = &doc.from;
            let _ = writeln!(out, "{}{from}", if out.is_empty() { "" } else { "\n" });
        }
        let line = format!("  {:<width$}  {}", doc.name, doc.summary());
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

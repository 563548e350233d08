//! `nnc run`: an entry on inputs, results to the terminal or to files.

use crate::{Failure, Source, inputs, pair};
use nnc::Tensor;
use std::fmt::Write;
use std::path::Path;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    given: inputs::Given,
    /// Where to write a result, a .npy file; results without a file are printed
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    output: Vec<(String, String)>,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let given = &arguments.given;
    let model = arguments.source.compiler()?.build()?;
    let program = given.program(&model, false)?;
    let entry = given.entry(&program)?;
    if let Some((name, _)) = arguments.output.iter().find(|(n, _)| !entry.outputs.iter().any(|p| p.name == *n)) {
        let known: Vec<&str> = entry.outputs.iter().map(|p| p.name.as_str()).collect();
        return Err(Failure(format!("error: `{}` has no output `{name}`; it gives {}", entry.name, known.join(", "))));
    }
    let tensors = given.tensors(entry, false)?;
    let results = program.session(given.threads as usize).call(&entry.name, &tensors)?;
    let mut out = String::new();
    for (port, result) in entry.outputs.iter().zip(&results) {
        match arguments.output.iter().find(|(n, _)| *n == port.name) {
            Some((_, file)) => nnc::npy::write(Path::new(file), result)?,
            None => {
                let _ = writeln!(out, "{}: {}{:?} {}", port.name, result.elem, result.shape, preview(result));
            }
        }
    }
    Ok(out)
}

/// The first few elements.
fn preview(t: &Tensor) -> String {
    const SHOWN: usize = 8;
    let items: Vec<String> = t.to_f64().iter().take(SHOWN).map(|x| format!("{:.6}", x)).collect();
    let more = if t.len() > SHOWN { ", …" } else { "" };
    format!("[{}{more}]", items.join(", "))
}

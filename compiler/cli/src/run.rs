//! `nnc run`: an entry on inputs, results to the terminal or to files.

use crate::{Failure, Source, inputs, pair};
use nnc::{Elem, Tensor};
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
    let (program, _) = given.program(&arguments.source, false)?;
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
                let _ = writeln!(out, "{}: {}{:?} = {}", port.name, result.elem, result.shape, preview(result));
            }
        }
    }
    Ok(out)
}

/// Small tensors whole, of others the first few elements.
fn preview(t: &Tensor) -> String {
    const WHOLE: usize = 64;
    const FIRST: usize = 8;
    let items: Vec<String> = t.to_f64().iter().map(|x| element(t.elem, *x)).collect();
    match items.len() {
        ..=WHOLE => nested(&items, &t.shape),
        _ => format!("[{}, …]", items[..FIRST].join(", ")),
    }
}

/// `[[1, 2], [3, 4]]`
fn nested(items: &[String], shape: &[usize]) -> String {
    match shape {
        [] => items.concat(),
        [_] => format!("[{}]", items.join(", ")),
        [_, inner @ ..] => {
            let size = inner.iter().product::<usize>().max(1);
            let rows: Vec<String> = items.chunks(size).map(|row| nested(row, inner)).collect();
            format!("[{}]", rows.join(", "))
        }
    }
}

fn element(elem: Elem, x: f64) -> String {
    match elem {
        Elem::Bool => (x != 0.0).to_string(),
        e if e.is_float() && x != 0.0 && !(1e-3..1e6).contains(&x.abs()) && x.is_finite() => format!("{x:.3e}"),
        e if e.is_float() => format!("{x:.5}"),
        _ => x.to_string(),
    }
}

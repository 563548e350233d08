//! `nnc run`: an entry on inputs, results to the terminal or to files.

use crate::{Failure, Source, inputs, pair, results};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    given: inputs::Given,
    /// Where to write a result: a file that ends in .npy, .json, .txt (integers as bytes), .png or .jpg (values from 0 to
    /// 1), or .wav; results without a file are printed
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    output: Vec<(String, String)>,
    /// Samples a second of sounds that are written
    #[arg(long, default_value_t = 16_000, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Print results as JSON, whole
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let given = &arguments.given;
    arguments.output.iter().try_for_each(|(_, file)| results::check(file))?;
    let program = given.program(&arguments.source, false, true)?.program;
    let entry = &program.entries()[given.entry(&program)?];
    if let Some((name, _)) = arguments.output.iter().find(|(n, _)| !entry.outputs.iter().any(|p| p.name == *n)) {
        let known: Vec<&str> = entry.outputs.iter().map(|p| p.name.as_str()).collect();
        return Err(Failure(format!("error: `{}` has no output `{name}`; it gives {}", entry.name, known.join(", "))));
    }
    let tensors = given.tensors(entry, false)?;
    let mut session = program.session(given.threads as usize);
    session.seed(given.seed);
    let outputs = session.call(&entry.name, &tensors)?;
    let mut out = String::new();
    let mut printed = serde_json::Map::new();
    for (port, result) in entry.outputs.iter().zip(&outputs) {
        match arguments.output.iter().find(|(n, _)| *n == port.name) {
            Some((_, file)) => results::write(Path::new(file), result, arguments.rate)?,
            None if arguments.json => {
                printed.insert(port.name.clone(), results::to_json(result));
            }
            None => {
                let _ =
                    writeln!(out, "{}: {}{:?} = {}", port.name, result.elem, result.shape, results::preview(result));
            }
        }
    }
    match arguments.json {
        true => Ok(format!("{}\n", json!(printed))),
        false => Ok(out),
    }
}

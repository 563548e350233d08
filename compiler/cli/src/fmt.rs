//! `nnc fmt`: the one layout of .nn files.

use crate::{Failure, print};
use similar::TextDiff;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// Files to lay out; `-` reads standard input and prints the result
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; print what would change, and exit with 1 if anything would
    #[arg(long)]
    check: bool,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    let (mut out, mut untidy) = (String::new(), 0);
    // All are read and laid out before the first is written.
    let mut changed = vec![];
    for path in &arguments.files {
        let piped = path == Path::new("-");
        let name = if piped { "standard input".into() } else { path.display().to_string() };
        let text = match piped {
            true => tensor::text_of(std::io::stdin(), Path::new(&name))?,
            false => tensor::read_text(path)?,
        };
        let tidy = nnc::format(&name, &text)?;
        if arguments.check {
            if tidy != text {
                untidy += 1;
                let diff = TextDiff::from_lines(&text, &tidy);
                let _ = write!(out, "{}", diff.unified_diff().context_radius(2).header(&name, &name));
            }
        } else if piped {
            out += &tidy;
        } else if tidy != text {
            changed.push((path, tidy));
        }
    }
    for (path, tidy) in changed {
        nnc::write_whole(path, tidy.as_bytes())?;
    }
    match untidy {
        0 => Ok(out),
        n => {
            print(&out)?;
            let files = if n == 1 { "1 file is" } else { &format!("{n} files are") };
            Err(Failure(format!("error: {files} not laid out as `nnc fmt` does it")))
        }
    }
}

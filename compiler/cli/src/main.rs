//! The `nnc` command. Exit codes: 0, 1 for a mistake in what it was given, 2 for a wrong command line.

mod bench;
mod check;
mod compile;
mod doc;
mod doctor;
mod dump;
mod fmt;
mod inputs;
mod names;
mod results;
mod run;
mod text;
mod train;
mod values;

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "nnc", version, about = "A compiler for neural networks", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a model: its entries, guards, parameters and memory
    Check(check::Arguments),
    /// Lay out .nn files, in place
    Fmt(fmt::Arguments),
    /// List what a model stores, and match it with a checkpoint
    Names(names::Arguments),
    /// Compile a model; with -o, into a file that runs without its source
    Compile(compile::Arguments),
    /// Run an entry on inputs
    Run(run::Arguments),
    /// Train a model by a `train` block of its file
    Train(train::Arguments),
    /// Time an entry
    Bench(bench::Arguments),
    /// Show what a model becomes at one stage of compiling
    Dump(dump::Arguments),
    /// Tell what this machine offers
    Doctor(doctor::Arguments),
    /// Print the signature and documentation of anything in the library, or list it
    Doc(doc::Arguments),
    /// Explain a code such as E0301
    Explain {
        /// A code from an error message
        code: String,
    },
    /// Print completions for a shell: `nnc completions bash > ~/.local/share/bash-completion/completions/nnc`
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What to compile: shared by all commands that take a model.
#[derive(Args, Clone)]
struct Source {
    /// The model, a .nn file; `run` and `bench` take a program that `compile` wrote too
    file: PathBuf,
    /// Which model of the file; the first if not given
    #[arg(long)]
    model: Option<String>,
    /// Fix a constant, a configuration of the model, or a dim of its inputs
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = pair)]
    define: Vec<(String, String)>,
    /// Instruction set: avx512, avx2 or baseline; the widest of this machine if not given
    #[arg(long, value_name = "ISA")]
    target_cpu: Option<nnc::Isa>,
    /// Compile for a GPU of NVIDIA: cuda for the one of this machine, cuda:sm_80,sm_90a for any of these. This needs NVRTC,
    /// which is looked for where toolkits and Python packages have it, or in the file that NNC_NVRTC names
    #[arg(long, conflicts_with = "target_cpu", value_parser = target)]
    target: Option<Wanted>,
}

/// What `--target` names.
#[derive(Clone, PartialEq)]
enum Wanted {
    /// The GPU of this machine.
    Here,
    These(nnc::Target),
}

fn target(text: &str) -> Result<Wanted, String> {
    match text {
        "cpu" => Ok(Wanted::These(nnc::Target::Cpu(nnc::Isa::host()))),
        "cuda" => Ok(Wanted::Here),
        _ if text.starts_with("cuda:") => text.parse().map(Wanted::These),
        _ => Err("expected cpu, cuda or cuda:ARCHITECTURES, as in cuda:sm_80,sm_90a".into()),
    }
}

impl Source {
    fn compiler(&self) -> Result<nnc::Compiler, Failure> {
        if nnc::is_program(&self.file) {
            return Err(Failure(format!("error: {} is compiled; this needs its source", self.file.display())));
        }
        let mut compiler = nnc::compile(&self.file)?;
        if let Some(model) = &self.model {
            compiler = compiler.model(model);
        }
        if let Some(isa) = self.target_cpu {
            if isa > nnc::Isa::host() {
                return Err(Failure(format!("error: this machine has no {isa}; it has {}", nnc::Isa::host())));
            }
            compiler = compiler.isa(isa);
        }
        match &self.target {
            None => {}
            Some(Wanted::Here) => compiler = compiler.target(nnc::Target::Cuda(vec![nnc::Gpu::open()?.arch()?])),
            Some(Wanted::These(target)) => compiler = compiler.target(target.clone()),
        }
        Ok(self.define.iter().fold(compiler, |c, (name, value)| c.define(name, value)))
    }
}

/// `NAME=VALUE`
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// A message for the user; the command ends with exit code 1.
struct Failure(String);

impl<E: Into<nnc::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into().render(std::io::stderr().is_terminal()))
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Fmt(arguments) => fmt::run(&arguments),
        Command::Names(arguments) => names::run(&arguments),
        Command::Compile(arguments) => compile::run(&arguments),
        Command::Dump(arguments) => dump::run(&arguments),
        Command::Doc(arguments) => doc::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Explain { code } => explain(&code),
        Command::Completions { shell } => Ok(completions(shell)),
    };
    match result.and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            // Where nobody reads errors there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output; a reader that has gone away, as in `nnc dump … | head`, is no mistake.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(nnc::FileError::io(Path::new("standard output"), error).into())
        }
        _ => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut out = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "nnc", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn explain(code: &str) -> Result<String, Failure> {
    diag::explain(code).ok_or_else(|| Failure(format!("error: there is no code `{code}`; codes look like E0301")))
}

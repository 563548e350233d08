//! `nnc dump`: the text of a model at one stage of compiling.

use crate::{Failure, Source};
use clap::ValueEnum;
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Which form to print
    #[arg(long, value_enum, default_value_t = Emit::Graph)]
    emit: Emit,
    /// Print the graph after this pass too
    #[arg(long, value_name = "PASS")]
    print_after: Vec<String>,
    /// Stop after this pass
    #[arg(long, value_name = "PASS")]
    stop_after: Option<String>,
    /// Allow this many rewrites, to find one that is wrong
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Only kernels whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    kernel: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The graph after all passes
    Graph,
    /// Kernels as nests, with their schedules
    Kernel,
    /// Kernels as explicit loops
    Scheduled,
    /// Vector IR
    Vir,
    /// Machine code
    Asm,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    for pass in arguments.print_after.iter().chain(&arguments.stop_after) {
        if !nnc::PASSES.iter().any(|p| p == pass) {
            return Err(Failure(format!("error: no pass `{pass}`; there are {}", nnc::PASSES.join(", "))));
        }
    }
    let mut compiler = arguments.source.compiler()?;
    if let Some(fuel) = arguments.fuel {
        compiler = compiler.fuel(fuel);
    }
    let mut out = String::new();
    let model = compiler.build_observed(arguments.stop_after.as_deref(), &mut |pass, entry, graph| {
        if arguments.print_after.iter().any(|p| p == pass) {
            let _ = writeln!(out, "// {entry} after {pass}\n{graph}");
        }
    })?;
    for compiled in &model.compiled {
        if arguments.emit == Emit::Graph {
            let _ = write!(out, "{}", compiled.graph);
            continue;
        }
        for kernel in compiled.lowered.kernels.iter().filter(|k| k.kernel.name.contains(&arguments.kernel)) {
            let isa = arguments.source.target_cpu.unwrap_or_else(nnc::Isa::host);
            let _ = match arguments.emit {
                Emit::Graph => Ok(()),
                Emit::Kernel => writeln!(out, "{}{}\n", kernel.kernel, indented(&kernel.schedule.to_string())),
                Emit::Scheduled => writeln!(out, "{}", kernel.scheduled),
                Emit::Vir => writeln!(out, "// {}\n{}", kernel.kernel.name, nnc::vector_ir(kernel)?),
                Emit::Asm => writeln!(out, "; {}\n{}", kernel.kernel.name, nnc::assembly(kernel, isa)?),
            };
        }
    }
    Ok(out)
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("  // {l}")).collect::<Vec<_>>().join("\n")
}

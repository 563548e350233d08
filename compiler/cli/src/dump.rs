//! `nnc dump`: the text of a model at one stage of compiling.

use crate::inputs::entry_index;
use crate::{Failure, Source, Wanted};
use clap::ValueEnum;
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Which form to print
    #[arg(long, value_enum, default_value_t = Emit::Graph)]
    emit: Emit,
    /// Print the graph after this pass too, or after `elaborate`
    #[arg(long, value_name = "PASS")]
    print_after: Vec<String>,
    /// Stop after this pass
    #[arg(long, value_name = "PASS")]
    stop_after: Option<String>,
    /// Allow this many rewrites, to find one that is wrong
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Only this entry
    #[arg(long)]
    entry: Option<String>,
    /// Only kernels whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    kernel: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The model as the language has it, of a file of ONNX too
    Text,
    /// The graph after all passes
    Graph,
    /// The same as boxes and arrows, in Graphviz's language
    Dot,
    /// The same as a picture
    Svg,
    /// Groups that are not one kernel with the schedule of their kind, and why
    Setbacks,
    /// Kernels as nests, with their schedules
    Kernel,
    /// Kernels as explicit loops
    Scheduled,
    /// Vector IR
    Vir,
    /// Cranelift's IR, for baseline
    Clif,
    /// Machine code, for avx2 and avx512
    Asm,
    /// CUDA C++, for GPUs
    Cuda,
}

pub fn run(arguments: &Arguments) -> Result<String, Failure> {
    // What elaboration yields can be printed too.
    let printed = arguments.print_after.iter().filter(|p| *p != "elaborate");
    for pass in printed.chain(&arguments.stop_after) {
        if !nnc::PASSES.iter().any(|p| p == pass) {
            return Err(Failure(format!("error: no pass `{pass}`; there are {}", nnc::PASSES.join(", "))));
        }
    }
    let mut source = arguments.source.clone();
    match (arguments.emit, source.target_cpu) {
        // Cranelift's IR is for 128 bits.
        (Emit::Clif, None) => source.target_cpu = Some(nnc::Isa::Baseline),
        (Emit::Clif, Some(nnc::Isa::Avx2 | nnc::Isa::Avx512)) => {
            return Err(Failure("error: --emit clif needs --target-cpu baseline".into()));
        }
        (Emit::Asm, Some(nnc::Isa::Baseline)) => {
            return Err(Failure(
                "error: --emit asm shows code for avx2 and avx512; for baseline see --emit clif".into(),
            ));
        }
        (Emit::Cuda, Some(_)) => return Err(Failure("error: --emit cuda is for GPUs; leave out --target-cpu".into())),
        _ => {}
    }
    let for_cpu = source.target.is_none() || matches!(source.target, Some(Wanted::These(nnc::Target::Cpu(_))));
    if !for_cpu && matches!(arguments.emit, Emit::Vir | Emit::Clif | Emit::Asm) {
        return Err(Failure("error: this form is for CPUs; with --target cuda see --emit cuda".into()));
    }
    if !for_cpu || arguments.emit == Emit::Cuda {
        // Text needs no compiler of NVIDIA, whatever it is for.
        source.target = Some(Wanted::These(nnc::Target::Cuda(vec![])));
    }
    let mut compiler = source.compiler()?;
    if arguments.emit == Emit::Text {
        return Ok(compiler.text());
    }
    if let Some(fuel) = arguments.fuel {
        compiler = compiler.fuel(fuel);
    }
    let mut out = String::new();
    let model = compiler.build_observed(arguments.stop_after.as_deref(), &mut |pass, entry, graph| {
        if arguments.print_after.iter().any(|p| p == pass) {
            let _ = writeln!(out, "// {entry} after {pass}\n{graph}");
        }
    })?;
    let chosen = match &arguments.entry {
        None => &model.compiled[..],
        Some(name) => std::slice::from_ref(&model.compiled[entry_index(&model.entries, name)?]),
    };
    if arguments.emit == Emit::Svg {
        return Ok(out + &nnc::drawing::svg(chosen.iter().map(|c| &c.graph)));
    }
    for compiled in chosen {
        match arguments.emit {
            Emit::Graph => out += &compiled.graph.to_string(),
            Emit::Dot => out += &nnc::drawing::dot(&compiled.graph),
            Emit::Setbacks => {
                compiled.lowered.setbacks.iter().for_each(|setback| out += &format!("{setback}\n"));
            }
            emit => {
                let isa = source.target_cpu.unwrap_or_else(nnc::Isa::host);
                for kernel in compiled.lowered.kernels.iter().filter(|k| k.name().contains(&arguments.kernel)) {
                    out += &text(kernel, emit, isa)?;
                }
            }
        }
    }
    Ok(out)
}

/// A kernel in one of its forms.
fn text(kernel: &nnc::LoweredKernel, emit: Emit, isa: nnc::Isa) -> Result<String, Failure> {
    let name = kernel.name();
    let Some(code) = kernel.code() else { return Ok(format!("// {name}: a function from elsewhere\n")) };
    Ok(match (emit, kernel.loops()) {
        (Emit::Kernel, Some(loops)) => format!("{}{}\n\n", loops.kernel, indented(&loops.schedule.to_string())),
        (Emit::Scheduled, Some(loops)) => format!("{}\n", loops.scheduled),
        (Emit::Kernel | Emit::Scheduled, None) => format!("// {name}: a routine of the engine\n"),
        (Emit::Vir, _) => format!("// {name}\n{}\n", nnc::vector_ir(code)?),
        (Emit::Clif, _) => format!("; {name}\n{}\n", nnc::clif(code)?),
        (Emit::Asm, _) => format!("; {name}\n{}\n", nnc::assembly(code, isa)?),
        (Emit::Cuda, _) => format!("{}\n", nnc::cuda(code)?),
        (Emit::Graph | Emit::Dot | Emit::Svg | Emit::Setbacks | Emit::Text, _) => String::new(),
    })
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("  // {l}")).collect::<Vec<_>>().join("\n")
}

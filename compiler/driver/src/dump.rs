//! Texts of the last stages, for people who look at them.

use crate::compile::Function;
use crate::error::Error;
use diag::SourceMap;
use engine::Isa;
use kernel::schedule::{Mark, Nest};
use lower::Loops;

/// Names of the passes, in order.
pub const PASSES: &[&str] = &{
    let mut names = [""; passes::PIPELINE.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = passes::PIPELINE[i].name;
        i += 1;
    }
    names
};

/// The text of a model in its one layout; `name` stands for it in messages.
///
/// ```
/// let tidy = nnc::format("m.nn", "model  M(x:[B,4])->[B,4]=relu( x )")?;
/// assert_eq!(tidy, "model M(x: [B, 4]) -> [B, 4] = relu(x)\n");
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn format(name: &str, text: &str) -> Result<String, Error> {
    dsl::format(text).map_err(|diagnostics| {
        let mut sources = SourceMap::default();
        sources.add(name, text);
        Error::Model { diagnostics, sources: Box::new(sources) }
    })
}

/// A kernel as vector IR; [`clif`], [`assembly`] and [`cuda`] give its later and other forms.
///
/// ```
/// let model = nnc::compile_text("m.nn", "model M(x: [B]) -> [B] = relu(x)").build()?;
/// let kernel = model.compiled[0].lowered.kernels[0].loops().unwrap();
/// assert!(nnc::vector_ir(kernel)?.starts_with("function lanes "));
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn vector_ir(kernel: &Loops<Function>) -> Result<String, Error> {
    match &kernel.code {
        Function::Vectors(function) => Ok(function.to_string()),
        Function::Scalars(_) => Ok("// one element at a time, by Cranelift\n".into()),
    }
}

/// A kernel as machine code for `isa`, one instruction a line.
pub fn assembly(kernel: &Loops<Function>, isa: Isa) -> Result<String, Error> {
    match &kernel.code {
        Function::Vectors(function) => {
            let (code, _) = cpu::x86::emit(function, isa).map_err(|e| Error::Defect(e.to_string()))?;
            Ok(cpu::x86::disassemble(&code))
        }
        Function::Scalars(_) => Ok("; one element at a time, by Cranelift\n".into()),
    }
}

/// A kernel made for 4 lanes, the instruction set `baseline`, or one without vectors, as Cranelift's IR.
pub fn clif(kernel: &Loops<Function>) -> Result<String, Error> {
    match &kernel.code {
        Function::Vectors(function) => {
            let text = cpu::Module::baseline().and_then(|m| m.clif(function));
            text.map_err(|e: cpu::x86::EmitError| Error::Defect(e.to_string()))
        }
        Function::Scalars(function) => Ok(function.to_string()),
    }
}

/// A kernel made for 4 lanes as CUDA C++, its tasks as blocks of one thread; the prelude is not shown.
pub fn cuda(kernel: &Loops<Function>) -> Result<String, Error> {
    let mut schedule = kernel.schedule.clone();
    schedule.nest.iter_mut().for_each(|nest| tasks_to_blocks(nest, Some(0)));
    let scheduled = kernel::apply(&kernel.kernel, &schedule, Isa::Baseline.lanes() as i64);
    let scheduled = scheduled.map_err(|e| Error::Defect(e.to_string()))?;
    let source = cuda::emit(&scheduled).map_err(|e| Error::Defect(e.to_string()))?;
    Ok(source.text)
}

/// Parallel loops outside of all others become dimensions of the grid from `dimension` on, other parallel loops serial.
/// `None` stands for no dimension.
fn tasks_to_blocks(nest: &mut Nest, mut dimension: Option<u8>) {
    let (Nest::Loops { loops, .. } | Nest::Compute { loops, .. }) = &mut *nest;
    for each in loops {
        match (each.mark, dimension) {
            (Mark::Parallel, Some(d)) => {
                each.mark = Mark::Block(d);
                dimension = (d < 2).then_some(d + 1);
            }
            (mark, _) => {
                each.mark = if mark == Mark::Parallel { Mark::Serial } else { mark };
                dimension = None;
            }
        }
    }
    if let Nest::Loops { body, .. } = nest {
        body.iter_mut().for_each(|inner| tasks_to_blocks(inner, dimension));
    }
}

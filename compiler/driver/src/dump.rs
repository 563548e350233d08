//! Texts of the last stages, for people who look at them.

use crate::error::Error;
use crate::target::Function;
use diag::SourceMap;
use engine::Isa;

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
/// assert!(nnc::vector_ir(&kernel.code)?.starts_with("function lanes "));
/// # Ok::<(), nnc::Error>(())
/// ```
pub fn vector_ir(code: &Function) -> Result<String, Error> {
    match code {
        Function::Vectors(function) => Ok(function.to_string()),
        Function::Scalars(_) => Ok("// one element at a time, by Cranelift\n".into()),
        Function::Routine(_) => Ok("// a routine of the engine\n".into()),
        Function::Cuda(_) => Ok("// for GPUs\n".into()),
    }
}

/// A kernel as machine code for `isa`, one instruction a line.
pub fn assembly(code: &Function, isa: Isa) -> Result<String, Error> {
    match code {
        Function::Vectors(function) => {
            let (code, _) = cpu::x86::emit(function, isa).map_err(|e| Error::Defect(e.to_string()))?;
            Ok(cpu::x86::disassemble(&code))
        }
        Function::Scalars(_) => Ok("; one element at a time, by Cranelift\n".into()),
        Function::Routine(_) => Ok("; a routine of the engine\n".into()),
        Function::Cuda(_) => Ok("; for GPUs\n".into()),
    }
}

/// A kernel made for 4 lanes, the instruction set `baseline`, or one without vectors, as Cranelift's IR.
pub fn clif(code: &Function) -> Result<String, Error> {
    match code {
        Function::Vectors(function) => {
            let text = cpu::Module::baseline().and_then(|m| m.clif(function));
            text.map_err(|e: cpu::x86::EmitError| Error::Defect(e.to_string()))
        }
        Function::Scalars(function) => Ok(function.to_string()),
        Function::Routine(_) => Ok("; a routine of the engine\n".into()),
        Function::Cuda(_) => Ok("; for GPUs\n".into()),
    }
}

/// A kernel made for GPUs as CUDA C++; the prelude is not shown.
pub fn cuda(code: &Function) -> Result<String, Error> {
    match code {
        Function::Cuda(source) => Ok(source.text.clone()),
        _ => Err(Error::Defect("a kernel for a CPU is no CUDA C++".into())),
    }
}

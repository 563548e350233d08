//! From a model of a line or two to its kernels.

use engine::Isa;
use lower::{Lowered, NoCode, Target, Vectors, lower};

/// The kernels of a model's first entry, with the schedules for this machine's CPU.
pub fn lowered(source: &str) -> Result<Lowered<()>, String> {
    let model = nnc::compile_text("case.nn", source).elaborate().map_err(|e| e.to_string())?;
    let mut graph = model.entries.into_iter().next().ok_or("the model has no entry")?.graph;
    passes::run(&mut graph, &mut passes::Cx::default(), None, &mut |_, _, _| {}).map_err(|e| e.to_string())?;
    let isa = Isa::host();
    let target = Target::Cpu(Vectors { lanes: isa.lanes() as i64, registers: isa.registers() as i64 });
    lower(&graph, &target, &|_| false, &NoCode).map_err(|e| e.to_string())
}

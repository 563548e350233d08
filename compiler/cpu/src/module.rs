//! Code of many functions in one place: emitted bytes, what Cranelift compiles, and entries that call them.

use crate::clif::{self, kernel_signature};
use crate::vir::Function;
use crate::x86::{self, EmitError};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{self, AbiParam, ExternalName, InstBuilder, LibCall, MemFlagsData, Signature};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use engine::Isa;
use engine::code::{ALIGN, Blob, Code, Helper, Relocation, Target};
use std::ops::Range;

/// Fills the room between functions: a breakpoint.
const BETWEEN: u8 = 0xcc;

/// Collects functions; [`Module::finish`] makes them callable, [`Module::blob`] keeps them for later.
pub struct Module {
    isa: OwnedTargetIsa,
    blob: Blob,
}

impl Module {
    /// Cranelift's code is for this machine.
    pub fn new() -> Result<Module, EmitError> {
        Module::with_features(true)
    }

    /// Cranelift's code is for every machine of this architecture.
    pub fn baseline() -> Result<Module, EmitError> {
        Module::with_features(false)
    }

    fn with_features(host: bool) -> Result<Module, EmitError> {
        let mut flags = settings::builder();
        let verify = if cfg!(debug_assertions) { "true" } else { "false" };
        let chosen = [("opt_level", "speed"), ("enable_verifier", verify), ("use_colocated_libcalls", "false")];
        for (name, value) in chosen {
            flags.set(name, value).map_err(|e| EmitError(e.to_string()))?;
        }
        let target = cranelift_native::builder_with_options(host).map_err(|e| EmitError(e.into()))?;
        let isa = target.finish(settings::Flags::new(flags)).map_err(|e| EmitError(e.to_string()))?;
        let blob = Blob { isa: Isa::Baseline, bytes: vec![], kernels: vec![], entries: vec![], relocations: vec![] };
        Ok(Module { isa, blob })
    }

    /// Adds a kernel, made for `isa`; gives its number, counted from 0.
    pub fn kernel(&mut self, function: &Function, isa: Isa) -> Result<usize, EmitError> {
        let start = if isa == Isa::Baseline {
            self.compile(clif::translate(function, &*self.isa)?)?
        } else {
            let (code, _) = x86::emit(function, isa)?;
            self.place(&code)
        };
        self.blob.isa = self.blob.isa.max(isa);
        self.blob.kernels.push(start);
        Ok(self.blob.kernels.len() - 1)
    }

    /// A kernel of 4 lanes as Cranelift's IR.
    pub fn clif(&self, function: &Function) -> Result<String, EmitError> {
        Ok(clif::translate(function, &*self.isa)?.to_string())
    }

    /// Adds an entry that runs its steps one after the other; gives its number, counted from 0.
    pub fn entry(&mut self, steps: &[EntryStep]) -> Result<usize, EmitError> {
        let convention = self.isa.default_call_conv();
        let mut signature = Signature::new(convention);
        signature.params = vec![AbiParam::new(I64); 2];
        let mut function = ir::Function::with_name_signature(ir::UserFuncName::default(), signature);
        let mut builder_context = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut function, &mut builder_context);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        let (tables, counts) = (b.block_params(block)[0], b.block_params(block)[1]);
        let kernel = b.import_signature(kernel_signature(convention));
        Steps { b: &mut b, tables, counts, kernel, steps }.run(0..steps.len())?;
        b.ins().return_(&[]);
        b.seal_all_blocks();
        b.finalize(self.isa.frontend_config());
        let start = self.compile(function)?;
        self.blob.entries.push(start);
        Ok(self.blob.entries.len() - 1)
    }

    fn compile(&mut self, function: ir::Function) -> Result<usize, EmitError> {
        let mut context = Context::for_function(function);
        let compiled = context.compile(&*self.isa, &mut ControlPlane::default());
        let buffer = compiled.map_err(|e| EmitError(format!("{:?}", e.inner)))?.buffer.clone();
        let start = self.place(buffer.data());
        for relocation in buffer.relocs() {
            let target = match &relocation.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    let kernel = context.func.params.user_named_funcs()[*name].index;
                    Target::Own(self.blob.kernels[kernel as usize])
                }
                FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => Target::Helper(helper(*call)?),
                other => return Err(EmitError(format!("code refers to {other:?}"))),
            };
            if relocation.kind != Reloc::Abs8 || relocation.addend != 0 {
                return Err(EmitError(format!("code holds an address as {:?}", relocation.kind)));
            }
            self.blob.relocations.push(Relocation { at: start + relocation.offset as usize, target });
        }
        Ok(start)
    }

    fn place(&mut self, code: &[u8]) -> usize {
        let start = self.blob.bytes.len().next_multiple_of(ALIGN);
        self.blob.bytes.resize(start, BETWEEN);
        self.blob.bytes.extend(code);
        start
    }

    /// The code as bytes.
    pub fn blob(self) -> Blob {
        self.blob
    }

    /// Makes everything callable.
    pub fn finish(self) -> Result<Code, EmitError> {
        self.blob.map().map_err(|e| EmitError(format!("executable memory: {e}")))
    }
}

/// A step of an entry.
#[derive(Clone, Debug)]
pub enum EntryStep {
    /// All tasks of a kernel, by its number.
    Kernel(usize),
    /// The `steps` steps after this one, again and again; addresses that move, as steps and slots in their tables.
    Loop { steps: usize, moves: Vec<(usize, usize)> },
}

/// Writes the code of an entry's steps.
struct Steps<'s, 'f> {
    b: &'s mut FunctionBuilder<'f>,
    tables: ir::Value,
    counts: ir::Value,
    /// The type of kernels.
    kernel: ir::SigRef,
    steps: &'s [EntryStep],
}

impl Steps<'_, '_> {
    fn run(&mut self, range: Range<usize>) -> Result<(), EmitError> {
        let mut at = range.start;
        while at < range.end {
            at = match &self.steps[at] {
                EntryStep::Kernel(kernel) => {
                    self.call(at, *kernel)?;
                    at + 1
                }
                EntryStep::Loop { steps, moves } => {
                    let end = at + 1 + steps;
                    self.repeat(at, end, moves)?;
                    end
                }
            };
        }
        Ok(())
    }

    fn load(&mut self, from: ir::Value, word: usize) -> Result<ir::Value, EmitError> {
        let offset = offset(word)?;
        Ok(self.b.ins().load(I64, MemFlagsData::trusted(), from, offset))
    }

    fn call(&mut self, at: usize, kernel: usize) -> Result<(), EmitError> {
        let name = ir::UserExternalName::new(0, kernel as u32);
        let name = ExternalName::user(self.b.func.declare_imported_user_function(name));
        // Called through its address, which is put in when the code is mapped.
        let data = ir::ExtFuncData { name, signature: self.kernel, colocated: false, patchable: false };
        let callee = self.b.import_function(data);
        let (table, end) = (self.load(self.tables, at)?, self.load(self.counts, at)?);
        let begin = self.b.ins().iconst(I64, 0);
        self.b.ins().call(callee, &[table, begin, end]);
        Ok(())
    }

    fn repeat(&mut self, at: usize, end: usize, moves: &[(usize, usize)]) -> Result<(), EmitError> {
        let own = self.load(self.tables, at)?;
        for (i, (step, slot)) in moves.iter().enumerate() {
            let (table, first) = (self.load(self.tables, *step)?, self.load(own, 3 * i)?);
            self.b.ins().store(MemFlagsData::trusted(), first, table, offset(*slot)?);
        }
        let (head, body, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let left = self.b.append_block_param(head, I64);
        let count = self.load(self.counts, at)?;
        self.b.ins().jump(head, &[count.into()]);
        self.b.switch_to_block(head);
        self.b.ins().brif(left, body, &[], after, &[]);
        self.b.switch_to_block(body);
        self.run(at + 1..end)?;
        for (i, (step, slot)) in moves.iter().enumerate() {
            let table = self.load(self.tables, *step)?;
            let (now, mask) = (self.load(table, *slot)?, self.load(own, 3 * i + 1)?);
            let stride = self.load(own, 3 * i + 2)?;
            let turned = self.b.ins().bxor(now, mask);
            let moved = self.b.ins().iadd(turned, stride);
            self.b.ins().store(MemFlagsData::trusted(), moved, table, offset(*slot)?);
        }
        let left = self.b.ins().iadd_imm_s(left, -1);
        self.b.ins().jump(head, &[left.into()]);
        self.b.switch_to_block(after);
        Ok(())
    }
}

/// The offset of a word of 8 bytes.
fn offset(word: usize) -> Result<i32, EmitError> {
    i32::try_from(8 * word).map_err(|_| EmitError(format!("an entry of {word} steps")))
}

/// What Cranelift calls where a machine lacks an instruction.
fn helper(call: LibCall) -> Result<Helper, EmitError> {
    Ok(match call {
        LibCall::FmaF32 => Helper::Fma,
        LibCall::FloorF32 => Helper::Floor,
        LibCall::CeilF32 => Helper::Ceil,
        LibCall::TruncF32 => Helper::Trunc,
        LibCall::NearestF32 => Helper::Nearest,
        other => return Err(EmitError(format!("the machine has no {other}"))),
    })
}

//! Code of many functions in one place: emitted bytes, what Cranelift compiles, and entries that call them.

use crate::clif::{self, kernel_signature};
use crate::lower::Unsupported;
use crate::scalar;
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
use engine::code::{ALIGN, Blob, Code, External, Relocation, Target};
use engine::{Helper, Isa};
use kernel::Scheduled;
use std::ops::Range;

/// Fills the room between functions: a breakpoint.
const BETWEEN: u8 = 0xcc;

/// External names of functions for Cranelift stand in two spaces: kernels by their number, helpers by their place in
/// [`Helper::ALL`].
pub(crate) const KERNELS: u32 = 0;
pub(crate) const HELPERS: u32 = 1;
pub(crate) const EXTERNALS: u32 = 2;

/// A function before it has a place.
pub(crate) enum Unit {
    /// Position-independent code that refers to nothing.
    Bytes(Vec<u8>),
    /// For Cranelift to compile.
    Clif(Box<ir::Function>),
}

/// Collects functions; [`Module::finish`] makes them callable, [`Module::blob`] keeps them for later.
pub struct Module {
    pub(crate) isa: OwnedTargetIsa,
    /// What the kernels need of a machine.
    needs: Isa,
    pub(crate) kernels: Vec<Unit>,
    pub(crate) entries: Vec<Unit>,
    libraries: Vec<Vec<u8>>,
    pub(crate) externals: Vec<External>,
}

/// A C function from elsewhere as a kernel: what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalCall<'c> {
    pub symbol: &'c str,
    /// How many addresses of buffers, and how many sizes, both from the kernel's table; of its sizes the first is left out.
    pub buffers: usize,
    pub sizes: usize,
    /// What it takes after these, the same in each call.
    pub integers: &'c [i64],
    pub floats: &'c [f64],
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
        let (kernels, entries, libraries, externals) = (vec![], vec![], vec![], vec![]);
        Ok(Module { isa, needs: Isa::Baseline, kernels, entries, libraries, externals })
    }

    /// Adds a kernel, made for `isa`; gives its number, counted from 0.
    pub fn kernel(&mut self, function: &Function, isa: Isa) -> Result<usize, EmitError> {
        self.kernels.push(match isa {
            Isa::Baseline => Unit::Clif(Box::new(clif::translate(function, &*self.isa)?)),
            _ => Unit::Bytes(x86::emit(function, isa)?.0),
        });
        self.needs = self.needs.max(isa);
        Ok(self.kernels.len() - 1)
    }

    /// A kernel one element at a time, in Cranelift's IR.
    pub fn scalars(&self, kernel: &Scheduled) -> Result<ir::Function, Unsupported> {
        scalar::translate(kernel, &*self.isa)
    }

    /// Adds a kernel made by [`Module::scalars`]; gives its number.
    pub fn scalar_kernel(&mut self, function: ir::Function) -> usize {
        self.kernels.push(Unit::Clif(Box::new(function)));
        self.kernels.len() - 1
    }

    /// Adds a kernel that is a routine of the engine; gives its number.
    pub fn routine(&mut self, helper: Helper) -> usize {
        let signature = kernel_signature(self.isa.default_call_conv());
        let mut function = ir::Function::with_name_signature(ir::UserFuncName::default(), signature.clone());
        let mut context = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut function, &mut context);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        let arguments = b.block_params(block).to_vec();
        let callee = import(&mut b, helper, signature);
        b.ins().call(callee, &arguments);
        b.ins().return_(&[]);
        b.seal_all_blocks();
        b.finalize(self.isa.frontend_config());
        self.scalar_kernel(function)
    }

    /// Adds a kernel that calls a function of a shared library, given by its bytes; gives its number.
    pub fn external(&mut self, library: &[u8], call: &ExternalCall) -> Result<usize, EmitError> {
        let library = self.libraries.iter().position(|l| l == library).unwrap_or_else(|| {
            self.libraries.push(library.to_vec());
            self.libraries.len() - 1
        });
        let external = External { library, symbol: call.symbol.into() };
        let index = self.externals.iter().position(|e| *e == external).unwrap_or_else(|| {
            self.externals.push(external);
            self.externals.len() - 1
        });
        let convention = self.isa.default_call_conv();
        let name = ir::UserFuncName::default();
        let mut function = ir::Function::with_name_signature(name, kernel_signature(convention));
        let mut context = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut function, &mut context);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        let table = b.block_params(block)[0];
        let slots = (1..=call.buffers).chain((0..call.sizes).map(|i| call.buffers + 2 + i));
        let mut arguments = vec![];
        for slot in slots {
            arguments.push(b.ins().load(I64, MemFlagsData::trusted(), table, offset(slot)?));
        }
        arguments.extend(call.integers.iter().map(|n| b.ins().iconst(I64, *n)).collect::<Vec<_>>());
        arguments.extend(call.floats.iter().map(|x| b.ins().f64const(*x)).collect::<Vec<_>>());
        let mut signature = Signature::new(convention);
        signature.params = arguments.iter().map(|a| AbiParam::new(b.func.dfg.value_type(*a))).collect();
        let callee = reference(&mut b, EXTERNALS, index as u32, signature);
        b.ins().call(callee, &arguments);
        b.ins().return_(&[]);
        b.seal_all_blocks();
        b.finalize(self.isa.frontend_config());
        Ok(self.scalar_kernel(function))
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
        let kernel = kernel_signature(convention);
        Steps { b: &mut b, tables, counts, kernel, steps }.run(0..steps.len())?;
        b.ins().return_(&[]);
        b.seal_all_blocks();
        b.finalize(self.isa.frontend_config());
        self.entries.push(Unit::Clif(Box::new(function)));
        Ok(self.entries.len() - 1)
    }

    /// The code as bytes.
    pub fn blob(&self) -> Result<Blob, EmitError> {
        let (libraries, externals) = (self.libraries.clone(), self.externals.clone());
        let (bytes, kernels, entries, relocations) = (vec![], vec![], vec![], vec![]);
        let mut blob = Blob { isa: self.needs, bytes, kernels, entries, relocations, libraries, externals };
        for kernel in &self.kernels {
            let start = self.place(kernel, &mut blob)?;
            blob.kernels.push(start);
        }
        for entry in &self.entries {
            let start = self.place(entry, &mut blob)?;
            blob.entries.push(start);
        }
        Ok(blob)
    }

    /// Makes everything callable.
    pub fn finish(&self) -> Result<Code, EmitError> {
        self.blob()?.map().map_err(|e| EmitError(format!("executable memory: {e}")))
    }

    /// Adds a function to the bytes; gives where it starts. Kernels come before what calls them.
    fn place(&self, unit: &Unit, blob: &mut Blob) -> Result<usize, EmitError> {
        let start = blob.bytes.len().next_multiple_of(ALIGN);
        blob.bytes.resize(start, BETWEEN);
        let function = match unit {
            Unit::Bytes(code) => {
                blob.bytes.extend(code);
                return Ok(start);
            }
            Unit::Clif(function) => ir::Function::clone(function),
        };
        let mut context = Context::for_function(function);
        let compiled = context.compile(&*self.isa, &mut ControlPlane::default());
        let buffer = compiled.map_err(|e| EmitError(format!("{:?}", e.inner)))?.buffer.clone();
        blob.bytes.extend(buffer.data());
        for relocation in buffer.relocs() {
            let target = match &relocation.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    let name = &context.func.params.user_named_funcs()[*name];
                    match name.namespace {
                        KERNELS => Target::Own(blob.kernels[name.index as usize]),
                        EXTERNALS => Target::External(name.index as usize),
                        _ => Target::Helper(Helper::ALL[name.index as usize]),
                    }
                }
                FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => Target::Helper(helper(*call)?),
                other => return Err(EmitError(format!("code refers to {other:?}"))),
            };
            if relocation.kind != Reloc::Abs8 || relocation.addend != 0 {
                return Err(EmitError(format!("code holds an address as {:?}", relocation.kind)));
            }
            blob.relocations.push(Relocation { at: start + relocation.offset as usize, target });
        }
        Ok(start)
    }
}

/// A reference to a helper that is called with this signature.
pub(crate) fn import(b: &mut FunctionBuilder, helper: Helper, signature: Signature) -> ir::FuncRef {
    reference(b, HELPERS, helper as u32, signature)
}

fn reference(b: &mut FunctionBuilder, space: u32, index: u32, signature: Signature) -> ir::FuncRef {
    let signature = b.import_signature(signature);
    let name = b.func.declare_imported_user_function(ir::UserExternalName::new(space, index));
    let name = ExternalName::user(name);
    // Called through its address, which is put in when the code is mapped.
    b.import_function(ir::ExtFuncData { name, signature, colocated: false, patchable: false })
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
    kernel: Signature,
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
        let callee = reference(self.b, KERNELS, kernel as u32, self.kernel.clone());
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
pub(crate) fn helper(call: LibCall) -> Result<Helper, EmitError> {
    Ok(match call {
        LibCall::FmaF32 => Helper::FmaF32,
        LibCall::FloorF32 => Helper::FloorF32,
        LibCall::CeilF32 => Helper::CeilF32,
        LibCall::TruncF32 => Helper::TruncF32,
        LibCall::NearestF32 => Helper::NearestF32,
        LibCall::FmaF64 => Helper::FmaF64,
        LibCall::FloorF64 => Helper::FloorF64,
        LibCall::CeilF64 => Helper::CeilF64,
        LibCall::TruncF64 => Helper::TruncF64,
        LibCall::NearestF64 => Helper::NearestF64,
        other => return Err(EmitError(format!("the machine has no {other}"))),
    })
}

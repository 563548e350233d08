//! Code of many functions in one place: emitted bytes, what Cranelift compiles, and entries that call them.

use crate::clif::{self, kernel_signature};
use crate::target::Isa;
use crate::vir::Function;
use crate::x86::{self, EmitError};
use cranelift_codegen::Context;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module as _, default_libcall_names};

/// Compiled code of one kernel: its argument table, the first task and the one after the last.
pub type KernelFn = unsafe extern "C" fn(table: *const u64, begin: i64, end: i64);

/// Compiled code of one entry: for each of its steps a table and a number of tasks.
pub type EntryFn = unsafe extern "C" fn(tables: *const *const u64, tasks: *const i64);

/// Cache line, and the boundary that constants behind emitted code need.
const ALIGN: u64 = 64;

/// What Cranelift calls where a machine lacks an instruction, under C's names.
fn helpers() -> [(&'static str, *const u8); 5] {
    [
        ("fmaf", fused as *const u8),
        ("floorf", floor as *const u8),
        ("ceilf", ceil as *const u8),
        ("truncf", trunc as *const u8),
        ("nearbyintf", nearest as *const u8),
    ]
}

extern "C" fn fused(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

extern "C" fn floor(x: f32) -> f32 {
    x.floor()
}

extern "C" fn ceil(x: f32) -> f32 {
    x.ceil()
}

extern "C" fn trunc(x: f32) -> f32 {
    x.trunc()
}

extern "C" fn nearest(x: f32) -> f32 {
    x.round_ties_even()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelId(FuncId);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId(FuncId);

/// Collects functions; [`Module::finish`] makes them callable.
pub struct Module {
    jit: JITModule,
    functions: usize,
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
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        builder.symbols(helpers());
        Ok(Module { jit: JITModule::new(builder), functions: 0 })
    }

    fn name(&mut self) -> String {
        self.functions += 1;
        format!("f{}", self.functions)
    }

    /// Adds a kernel, made for `isa`.
    pub fn kernel(&mut self, function: &Function, isa: Isa) -> Result<KernelId, EmitError> {
        let name = self.name();
        if isa == Isa::Baseline {
            return clif::define(&mut self.jit, &name, function).map(KernelId);
        }
        let (code, _) = x86::emit(function, isa)?;
        let signature = kernel_signature(self.jit.target_config().default_call_conv);
        let id = self.jit.declare_function(&name, Linkage::Local, &signature)?;
        self.jit.define_function_bytes(id, ALIGN, &code, &[])?;
        Ok(KernelId(id))
    }

    /// Adds an entry that runs all tasks of one kernel after the other.
    pub fn entry(&mut self, steps: &[KernelId]) -> Result<EntryId, EmitError> {
        let config = self.jit.target_config();
        let mut signature = Signature::new(config.default_call_conv);
        signature.params = vec![AbiParam::new(I64); 2];
        let name = self.name();
        let id = self.jit.declare_function(&name, Linkage::Local, &signature)?;
        let mut context = Context::new();
        context.func = ir::Function::with_name_signature(ir::UserFuncName::user(0, id.as_u32()), signature);
        let mut builder_context = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut context.func, &mut builder_context);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        let (tables, tasks) = (b.block_params(block)[0], b.block_params(block)[1]);
        let zero = b.ins().iconst(I64, 0);
        for (i, step) in steps.iter().enumerate() {
            let kernel = self.jit.declare_func_in_func(step.0, b.func);
            // Code may lie further away than a near call reaches.
            b.func.dfg.ext_funcs[kernel].colocated = false;
            let slot = i32::try_from(i * 8).map_err(|_| EmitError(format!("an entry of {} steps", steps.len())))?;
            let flags = MemFlagsData::trusted();
            let (table, end) = (b.ins().load(I64, flags, tables, slot), b.ins().load(I64, flags, tasks, slot));
            b.ins().call(kernel, &[table, zero, end]);
        }
        b.ins().return_(&[]);
        b.seal_all_blocks();
        b.finalize(config);
        self.jit.define_function(id, &mut context)?;
        Ok(EntryId(id))
    }

    /// Makes everything callable.
    pub fn finish(mut self) -> Result<Code, EmitError> {
        self.jit.finalize_definitions()?;
        Ok(Code { jit: Some(self.jit) })
    }
}

/// Code that can be called for as long as this lives.
pub struct Code {
    /// `None` while it is dropped only.
    jit: Option<JITModule>,
}

// SAFETY: the module is finished. From here on it is only asked for addresses, which changes nothing.
unsafe impl Send for Code {}
unsafe impl Sync for Code {}

impl Code {
    fn address(&self, id: FuncId) -> *const u8 {
        self.jit.as_ref().expect("there until it is dropped").get_finalized_function(id)
    }

    pub fn kernel(&self, id: KernelId) -> KernelFn {
        // SAFETY: a function of this type was defined under this id.
        unsafe { std::mem::transmute::<*const u8, KernelFn>(self.address(id.0)) }
    }

    pub fn entry(&self, id: EntryId) -> EntryFn {
        // SAFETY: as above.
        unsafe { std::mem::transmute::<*const u8, EntryFn>(self.address(id.0)) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(jit) = self.jit.take() {
            // SAFETY: callers keep this alive for as long as they call into it.
            unsafe { jit.free_memory() };
        }
    }
}

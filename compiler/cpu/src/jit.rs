//! The functions of a module linked by cranelift-jit: a second route from code to memory, which the first, a blob mapped
//! by the engine, is held against.
//!
//! cranelift-jit places each function by itself, resolves names with its own table, and has memory that is writable
//! first and executable afterwards. Such code lives in this process only; what is saved is the blob.

use crate::clif::kernel_signature;
use crate::module::{EXTERNALS, HELPERS, KERNELS, Module, Unit, helper};
use crate::x86::EmitError;
use cranelift_codegen::Context;
use cranelift_codegen::ir::{LibCall, Signature, UserExternalName};
use cranelift_codegen::isa::CallConv;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module as _, ModuleError};
use engine::code::{ALIGN, Code};
use engine::{Helper, Isa};

impl From<ModuleError> for EmitError {
    fn from(e: ModuleError) -> EmitError {
        EmitError(format!("cranelift-jit: {e}"))
    }
}

/// Code that is freed with this.
struct Linked(Option<JITModule>);

// SAFETY: the code is never written once it is executable, and nothing else of the module is used.
unsafe impl Sync for Linked {}

impl Drop for Linked {
    fn drop(&mut self) {
        if let Some(module) = self.0.take() {
            // SAFETY: whoever has the code has this too, so nobody calls into it any more.
            unsafe { module.free_memory() };
        }
    }
}

impl Module {
    /// Makes everything callable, as [`Module::finish`] does, by cranelift-jit.
    pub fn finish_by_jit(&self) -> Result<Code, EmitError> {
        let blob = self.blob()?;
        if blob.isa > Isa::host() {
            return Err(EmitError(format!("the code is for {}; this machine has {}", blob.isa, Isa::host())));
        }
        let name = |call: LibCall| helper(call).map_or_else(|_| call.to_string(), symbol);
        let mut builder = JITBuilder::with_isa(self.isa.clone(), Box::new(name));
        builder.symbols(Helper::ALL.iter().map(|h| (symbol(*h), h.address())));
        let externals = blob.externals().map_err(|e| EmitError(e.to_string()))?;
        let count = blob.externals.len();
        builder.symbols((0..count).map(|i| (external(i), externals.address(i) as *const u8)));
        let module = JITModule::new(builder);
        let mut link = Link { module, helpers: vec![], externals: vec![], kernels: vec![] };
        for helper in Helper::ALL {
            // Calls carry their own types.
            let signature = Signature::new(CallConv::SystemV);
            link.helpers.push(link.module.declare_function(&symbol(*helper), Linkage::Import, &signature)?);
        }
        for index in 0..count {
            let signature = Signature::new(CallConv::SystemV);
            link.externals.push(link.module.declare_function(&external(index), Linkage::Import, &signature)?);
        }
        for kernel in &self.kernels {
            let id = link.define(kernel)?;
            link.kernels.push(id);
        }
        let entries = self.entries.iter().map(|e| link.define(e)).collect::<Result<Vec<FuncId>, EmitError>>()?;
        let Link { mut module, kernels, .. } = link;
        module.finalize_definitions()?;
        let at = |id: &FuncId| module.get_finalized_function(*id);
        let (kernels, entries) = (kernels.iter().map(at).collect(), entries.iter().map(at).collect());
        // SAFETY: these are the functions of the blob, in its order, and they live in the module.
        Ok(unsafe { Code::new(blob, kernels, entries, Box::new((Linked(Some(module)), externals))) })
    }
}

/// The name of a helper in the table of symbols.
fn symbol(helper: Helper) -> String {
    format!("nnc.{}", helper.name())
}

/// The name of the function from elsewhere of this number.
fn external(index: usize) -> String {
    format!("nnc.extern.{index}")
}

struct Link {
    module: JITModule,
    helpers: Vec<FuncId>,
    externals: Vec<FuncId>,
    kernels: Vec<FuncId>,
}

impl Link {
    fn define(&mut self, unit: &Unit) -> Result<FuncId, EmitError> {
        let signature = kernel_signature(self.module.isa().default_call_conv());
        let id = self.module.declare_anonymous_function(&signature)?;
        match unit {
            Unit::Bytes(code) => self.module.define_function_bytes(id, ALIGN as u64, code, &[])?,
            Unit::Clif(function) => {
                let mut function = (**function).clone();
                for (reference, name) in function.params.user_named_funcs().clone() {
                    let callee = match name.namespace {
                        KERNELS => self.kernels[name.index as usize],
                        HELPERS => self.helpers[name.index as usize],
                        EXTERNALS => self.externals[name.index as usize],
                        other => return Err(EmitError(format!("no space {other} of names"))),
                    };
                    function.params.reset_user_func_name(reference, UserExternalName::new(0, callee.as_u32()));
                }
                self.module.define_function(id, &mut Context::for_function(function))?;
            }
        }
        Ok(id)
    }
}

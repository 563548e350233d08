//! What code is made for: kernels become machine code of a CPU, or CUDA C++ and from that code of GPUs.

use crate::error::Error;
use cuda::nvrtc::Nvrtc;
use engine::{Arch, CudaKernel, Helper, Image, Isa};
use kernel::{Elem, Scheduled};
use lower::{Backend, LoweredKernel, Vectors};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What code is made for.
///
/// ```
/// let target: nnc::Target = "cuda:sm_80,sm_90a".parse()?;
/// assert_eq!(target.to_string(), "cuda:sm_80,sm_90a");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This machine's kind of CPU, with an instruction set.
    Cpu(Isa),
    /// GPUs of NVIDIA, of these architectures. Without any there is text to look at and no code.
    Cuda(Vec<Arch>),
}

impl Target {
    pub(crate) fn of_schedules(&self) -> lower::Target {
        match self {
            Target::Cpu(isa) => {
                lower::Target::Cpu(Vectors { lanes: isa.lanes() as i64, registers: isa.registers() as i64 })
            }
            Target::Cuda(_) => lower::Target::Cuda,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Target::Cpu(isa) => write!(f, "{isa}"),
            Target::Cuda(archs) => {
                write!(f, "cuda:{}", archs.iter().map(Arch::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// `avx2`, or `cuda:sm_80,sm_90a`.
    fn from_str(text: &str) -> Result<Target, String> {
        match text.strip_prefix("cuda:") {
            Some(archs) => Ok(Target::Cuda(archs.split(',').map(str::parse).collect::<Result<_, _>>()?)),
            None => Ok(Target::Cpu(text.parse()?)),
        }
    }
}

/// A kernel before it is code.
pub enum Function {
    /// In vectors.
    Vectors(cpu::vir::Function),
    /// One element at a time.
    Scalars(Box<cpu::ScalarFunction>),
    /// A routine of the engine.
    Routine(Helper),
    /// CUDA C++.
    Cuda(cuda::Source),
}

/// Code of one module for a CPU.
pub(crate) struct Cpu<'m>(pub &'m cpu::Module);

impl Backend for Cpu<'_> {
    type Code = Function;

    fn vectors(&self, kernel: &Scheduled) -> Result<Function, String> {
        cpu::lower::lower(kernel).map(Function::Vectors).map_err(|e| e.to_string())
    }

    fn scalars(&self, kernel: &Scheduled) -> Result<Function, String> {
        self.0.scalars(kernel).map(|f| Function::Scalars(Box::new(f))).map_err(|e| e.to_string())
    }

    fn routine(&self, name: &str, _: &[Elem], _: usize) -> Result<Function, String> {
        Helper::named(name).map(Function::Routine).ok_or_else(|| format!("the engine has no routine {name}"))
    }
}

/// Texts for GPUs. What a thread does it does one element at a time, so there is no second way.
pub(crate) struct Cuda;

impl Backend for Cuda {
    type Code = Function;

    fn vectors(&self, kernel: &Scheduled) -> Result<Function, String> {
        cuda::emit(kernel).map(Function::Cuda).map_err(|e| e.to_string())
    }

    fn scalars(&self, kernel: &Scheduled) -> Result<Function, String> {
        self.vectors(kernel)
    }

    fn routine(&self, name: &str, elems: &[Elem], sizes: usize) -> Result<Function, String> {
        let source = cuda::routine(name, elems, sizes);
        source.map(Function::Cuda).ok_or_else(|| format!("there is no {name} for GPUs"))
    }
}

/// Kernels for GPUs, compiled for each architecture, on as many threads as there are.
pub(crate) fn cuda_kernels(kernels: &[&LoweredKernel<Function>], archs: &[Arch]) -> Result<Vec<CudaKernel>, Error> {
    let nvrtc = if archs.is_empty() { None } else { Some(Nvrtc::open()?) };
    let made = |kernel: &LoweredKernel<Function>| {
        let code = match kernel {
            LoweredKernel::Loops(loops) => &loops.code,
            LoweredKernel::Routine(routine) => &routine.code,
            LoweredKernel::Extern(external, _) => {
                return Err(Error::Native(format!(
                    "`{}` is C code, which runs on a CPU only; compile without --target cuda",
                    external.symbol
                )));
            }
        };
        let Function::Cuda(source) = code else {
            return Err(Error::Defect("a kernel for a GPU is none".into()));
        };
        let image = |nvrtc: &Nvrtc, arch: &Arch| {
            Ok::<Image, Error>(Image { arch: *arch, bytes: nvrtc.compile_cached(&source.text, *arch)? })
        };
        let images = nvrtc.iter().flat_map(|nvrtc| archs.iter().map(move |arch| image(nvrtc, arch)));
        Ok(CudaKernel {
            entry: source.entry.clone(),
            block: source.block,
            shared: source.shared as u32,
            most: source.most as u64,
            images: images.collect::<Result<_, Error>>()?,
        })
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut own = vec![];
        while let Some((index, kernel)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, kernels.get(i)?)))
        {
            own.push((index, made(kernel)));
        }
        own
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(kernels.len().max(1));
    let mut all: Vec<(usize, Result<CudaKernel, Error>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        all.extend(others.into_iter().flat_map(|thread| thread.join().unwrap_or_default()));
        all
    });
    all.sort_by_key(|(index, _)| *index);
    if all.len() != kernels.len() {
        return Err(Error::Defect("a thread that compiles kernels has panicked".into()));
    }
    all.into_iter().map(|(_, kernel)| kernel).collect()
}

//! Runs compiled programs: plans, memory, threads. No compiler crate is needed here.

pub mod cache;
pub mod code;
pub mod cuda;
pub mod file;
pub mod formula;
pub mod helper;
pub mod isa;
pub mod plan;
pub mod pool;
mod room;
mod routine;
pub mod session;
mod sizes;
mod steps;

pub use cache::Cache;
pub use code::{Blob, Code, CodeMemory, EntryFn, External, Externals, KernelFn, Library};
pub use cuda::{Arch, CudaKernel, DeviceError, Gpu, Image};
pub use file::ProgramError;
pub use formula::Formula;
pub use helper::Helper;
pub use isa::Isa;
pub use plan::{
    Chosen, Condition, Constant, Entry, Guard, Kept, Kernels, Launch, Loop, Motion, Move, Place, PlanBuffer, Port,
    Program, Size, Step, Symbol,
};
pub use session::{AsView, AsViewMut, CallError, Session, Timed, View, ViewMut};

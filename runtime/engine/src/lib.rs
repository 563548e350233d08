//! Runs compiled programs: plans, memory, threads. No compiler crate is needed here.

pub mod formula;
pub mod plan;
pub mod pool;
pub mod session;

pub use formula::Formula;
pub use plan::{
    AlignedBytes, Code, Condition, Constant, Entry, Guard, KernelFn, Place, PlanBuffer, Port, Program, Step,
};
pub use session::{CallError, Session, View, ViewMut};

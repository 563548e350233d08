//! The loop IR that operators are written in and back ends read.
//!
//! Two levels share one vocabulary of scalar expressions: a [`Kernel`] is a nest of axes and stages, what is computed;
//! a `Schedule` is data that says how; applying it gives `Scheduled`, explicit loops over flat memory.
//! Nothing here knows an operator by name.

pub mod affine;
pub mod apply;
pub mod expr;
pub mod functions;
pub mod interpret;
pub mod nest;
pub mod schedule;
pub mod scheduled;
pub mod text;

pub use affine::{Affine, BufferId, ExprId, Extent, SizeId, Term, VarId};
pub use apply::apply;
pub use expr::{Binary, Combine, Compare, Expr, Exprs, Guard, Literal, Subscript, Unary};
pub use nest::{Axis, Buffer, Kernel, Role, Size, Stage};
pub use schedule::{Schedule, ScheduleError};
pub use scheduled::Scheduled;
pub use tensor::Elem;

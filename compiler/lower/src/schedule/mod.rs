//! Chooses schedules: from the shape of a kernel's loops and what the target offers to a schedule's text.
//!
//! Nothing here changes what is computed; a schedule that does not apply is an error of the chooser and found at once.

mod cpu;
mod cuda;
mod shape;

use crate::build::Style;
pub use cpu::Vectors;
use graph::GroupKind;
use kernel::{Kernel, Schedule, ScheduleError};
use shape::{Shape, StageShape};

/// What schedules are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Cpu(Vectors),
    /// Blocks of threads on a GPU of NVIDIA.
    Cuda,
}

impl Target {
    /// Elements of 32 bits in a vector.
    pub fn lanes(&self) -> i64 {
        match self {
            Target::Cpu(vectors) => vectors.lanes,
            Target::Cuda => cuda::LANES,
        }
    }

    /// How kernels are built for it.
    pub fn style(&self) -> Style {
        match self {
            Target::Cpu(_) => Style { turns: true, keeps: |_| true },
            Target::Cuda => Style { turns: false, keeps: cuda::keeps },
        }
    }
}

/// Extents that are known only when running are guessed as this, or their maximum if that is smaller.
const GUESS: i64 = 128;

/// The schedule of a kernel.
pub fn choose(kernel: &Kernel, kind: GroupKind, target: &Target) -> Result<Schedule, ScheduleError> {
    let shape = Shape::of(kernel);
    let text = match target {
        Target::Cpu(vectors) => cpu::text(&shape, kind, vectors),
        Target::Cuda => cuda::text(&shape, kind),
    };
    // Its parts may have schedules of their own.
    let none = || ScheduleError(format!("this form of a {} group has no schedule", kind.name()));
    text.ok_or_else(none)?.parse()
}

/// A schedule that is right for every kernel without temporaries of unknown size: on a CPU one loop for each axis, nothing
/// shared; on a GPU a thread for each element.
pub fn fallback(kernel: &Kernel, target: &Target) -> Result<Schedule, ScheduleError> {
    let shape = Shape::of(kernel);
    let text = match target {
        Target::Cpu(_) => None,
        Target::Cuda => cuda::fallback(&shape),
    };
    text.unwrap_or_else(|| plain(&shape)).parse()
}

fn plain(shape: &Shape) -> String {
    let nests = shape.stages.iter().map(|s| {
        let axes: Vec<&str> = s.free.iter().chain(&s.reduced).map(|v| shape.name(*v)).collect();
        format!("{}: {}", s.name, axes.join(" "))
    });
    format!("nest {}", nests.collect::<Vec<_>>().join(", "))
}

/// `layout B 0 1 2 local …` for a temporary that is private to iterations of some variables.
fn local(stage: &StageShape, vars: &[String]) -> String {
    let dims: Vec<String> = (0..stage.rank).map(|d| d.to_string()).collect();
    format!("layout {} {} local {}; ", stage.name, dims.join(" "), vars.join(" "))
}

/// `ceil(a / b)` for b positive.
fn ceil_div(a: i64, b: i64) -> i64 {
    (a + b - 1).div_euclid(b)
}

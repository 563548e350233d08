//! One operator as a kernel, with the plainest schedules.

use graph::{Compute, Dim, Op, Source, TensorType};
use kernel::{
    Affine, BufferId, Elem, ExprId, Extent, Kernel, Literal, Role, Schedule, ScheduleError, Subscript, VarId,
};

/// Operands in buffers of their own, dims as constants or as sizes of the kernel.
#[derive(Default)]
pub struct Buffers {
    operands: Vec<BufferId>,
    /// The dim that each size of the kernel stands for.
    pub sizes: Vec<Dim>,
}

impl Source for Buffers {
    fn load(
        &mut self,
        kernel: &mut Kernel,
        operand: usize,
        at: Vec<Subscript>,
        otherwise: Option<Literal>,
    ) -> Option<ExprId> {
        let buffer = self.operands[operand];
        Some(match otherwise {
            None => kernel.load(buffer, at),
            Some(value) => kernel.load_padded(buffer, at, value),
        })
    }

    fn extent(&mut self, kernel: &mut Kernel, dim: &Dim) -> Extent {
        if let Some(n) = dim.as_int() {
            return Extent::Const(n);
        }
        let known = self.sizes.iter().position(|d| d == dim);
        let size = known.unwrap_or_else(|| {
            self.sizes.push(dim.clone());
            kernel.size(dim.to_string(), 0, None);
            self.sizes.len() - 1
        });
        Extent::Size(kernel::SizeId(size as u32))
    }
}

/// A kernel that computes the operator's one result from its operands: their buffers in order, then that of the
/// result. `None` if the operator has no `compute`, or not for these types.
pub fn kernel_of(op: &Op, operands: &[TensorType], output: &TensorType) -> Option<(Kernel, Buffers)> {
    let mut kernel = Kernel::new(op.name());
    let mut buffers = Buffers::default();
    for (i, ty) in operands.iter().enumerate() {
        let dims = extents(&mut buffers, &mut kernel, ty);
        buffers.operands.push(kernel.buffer(format!("x{i}"), Role::In, ty.elem, &dims));
    }
    let dims = extents(&mut buffers, &mut kernel, output);
    let axes: Vec<VarId> = dims.iter().enumerate().map(|(i, n)| kernel.axis(format!("i{i}"), *n)).collect();
    let indices = axes.iter().map(|a| Subscript::from(*a)).collect();
    let value = op.compute(&mut Compute { kernel: &mut kernel, source: &mut buffers, indices, operands, output })?;
    let target = kernel.buffer("y", Role::Out, output.elem, &dims);
    kernel.stage(target, axes.into_iter().map(Affine::var).collect(), value);
    Some((kernel, buffers))
}

fn extents(buffers: &mut Buffers, kernel: &mut Kernel, ty: &TensorType) -> Vec<Extent> {
    ty.dims.iter().map(|d| buffers.extent(kernel, d)).collect()
}

/// How a kernel of [`kernel_of`] runs in the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// One loop for each axis.
    Serial,
    /// The innermost axis of the result in vectors of this many lanes.
    Lanes(i64),
}

/// The schedule, if the kernel has an axis for it.
pub fn plain(kernel: &Kernel, plain: Plain) -> Option<Result<Schedule, ScheduleError>> {
    let rank = kernel.stages[0].at.len();
    let names: Vec<&str> = kernel.axes.iter().map(|a| a.name.as_str()).collect();
    let (outer, reduced) = names.split_at(rank);
    let text = match (plain, outer) {
        (Plain::Serial, _) => format!("nest y: {}", names.join(" ")),
        (Plain::Lanes(_), []) => return None,
        (Plain::Lanes(lanes), [rest @ .., last]) => {
            let policy = match kernel.axes[rank - 1].extent {
                Extent::Const(_) => format!("{lanes}"),
                Extent::Size(_) => format!("chain {lanes}+mask"),
            };
            let loops = [rest, &["tile"], reduced].concat().join(" ");
            format!("split {last} {policy} tile lane; nest y: {loops} lane@")
        }
    };
    Some(text.parse())
}

/// Rounds a value to an element type, as memory holds it.
pub fn round(elem: Elem, value: f64) -> f64 {
    if elem.is_float() { elem.nearest(value) } else { value.trunc() }
}

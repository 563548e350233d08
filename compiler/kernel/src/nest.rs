//! The nest level: axes, buffers and stages. A stage computes every element of its target buffer from one scalar
//! expression; nothing is said about loops. Schedules say that (`schedule`), and applying one gives [`Scheduled`].
//!
//! [`Scheduled`]: crate::scheduled::Scheduled

use crate::affine::{Affine, BufferId, ExprId, Extent, SizeId, VarId};
use crate::expr::{Expr, Exprs, Guard, Literal, Subscript};
use tensor::Elem;

/// What the caller passes, or the kernel keeps to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    In,
    /// Read-only with values known when the model is loaded, so its layout is the schedule's to choose.
    Const,
    Out,
    /// Read and written: scatters and updates.
    InOut,
    /// Scratch memory of one call, or of one task where the schedule makes it local.
    Temp,
}

/// A value known only when running, in elements. Bounds come from the model's guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    pub name: String,
    pub min: i64,
    pub max: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    pub name: String,
    pub extent: Extent,
}

/// A tensor in memory: row-major unless the schedule gives it a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub name: String,
    pub role: Role,
    pub elem: Elem,
    pub dims: Vec<Extent>,
}

/// `target[at] = value` for all values of the variables in `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub target: BufferId,
    /// Affine subscripts that reach each element of the target at most once.
    pub at: Vec<Affine>,
    pub value: ExprId,
}

/// A kernel before scheduling. Stages run in order; each buffer is the target of one stage at most.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    pub name: String,
    pub sizes: Vec<Size>,
    pub axes: Vec<Axis>,
    pub buffers: Vec<Buffer>,
    pub exprs: Exprs,
    pub stages: Vec<Stage>,
}

impl Kernel {
    pub fn new(name: impl Into<String>) -> Kernel {
        Kernel { name: name.into(), ..Kernel::default() }
    }

    /// A run-time size of at least `min`, at most `max` if that is known.
    pub fn size(&mut self, name: impl Into<String>, min: i64, max: Option<i64>) -> SizeId {
        self.sizes.push(Size { name: name.into(), min, max });
        SizeId(self.sizes.len() as u32 - 1)
    }

    pub fn axis(&mut self, name: impl Into<String>, extent: impl Into<Extent>) -> VarId {
        let name = unique(name.into(), |n| self.axes.iter().any(|a| a.name == n));
        self.axes.push(Axis { name, extent: extent.into() });
        VarId(self.axes.len() as u32 - 1)
    }

    pub fn buffer(&mut self, name: impl Into<String>, role: Role, elem: Elem, dims: &[Extent]) -> BufferId {
        let name = unique(name.into(), |n| self.buffers.iter().any(|b| b.name == n));
        self.buffers.push(Buffer { name, role, elem, dims: dims.to_vec() });
        BufferId(self.buffers.len() as u32 - 1)
    }

    pub fn stage(&mut self, target: BufferId, at: Vec<Affine>, value: ExprId) {
        self.stages.push(Stage { target, at, value });
    }

    pub fn load(&mut self, buffer: BufferId, at: Vec<Subscript>) -> ExprId {
        let elem = self.buffers[buffer.index()].elem;
        self.exprs.intern(Expr::Load { buffer, at, guard: None }, elem)
    }

    /// A load that yields `otherwise` where an affine subscript leaves its dim.
    pub fn load_padded(&mut self, buffer: BufferId, at: Vec<Subscript>, otherwise: Literal) -> ExprId {
        let dims = self.buffers[buffer.index()].dims.clone();
        let affine = at.iter().zip(dims).filter_map(|(s, n)| Some((s.as_affine()?.clone(), n)));
        let ranges: Vec<_> = affine.filter(|(a, n)| !self.always_within(a, *n)).collect();
        let elem = self.buffers[buffer.index()].elem;
        let guard = (!ranges.is_empty()).then_some(Guard { ranges, otherwise });
        self.exprs.intern(Expr::Load { buffer, at, guard }, elem)
    }

    /// Whether a subscript stays in a dim because it is an axis of that extent, or a constant.
    fn always_within(&self, at: &Affine, dim: Extent) -> bool {
        match (at.as_var(), at.as_constant(), dim) {
            (Some(axis), ..) => self.axes[axis.index()].extent == dim,
            (_, Some(i), Extent::Const(n)) => (0..n).contains(&i),
            _ => false,
        }
    }

    /// The stage that computes `buffer`, if one does.
    pub fn producer(&self, buffer: BufferId) -> Option<&Stage> {
        self.stages.iter().find(|s| s.target == buffer)
    }

    pub fn buffer_named(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.name == name).map(|i| BufferId(i as u32))
    }
}

impl From<i64> for Extent {
    fn from(n: i64) -> Extent {
        Extent::Const(n)
    }
}

impl From<SizeId> for Extent {
    fn from(s: SizeId) -> Extent {
        Extent::Size(s)
    }
}

/// `name`, or `name1`, `name2` … where that is taken.
pub(crate) fn unique(name: String, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&name) {
        return name;
    }
    (1..).map(|i| format!("{name}{i}")).find(|n| !taken(n)).expect("finitely many names are taken")
}

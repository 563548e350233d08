//! What `compute` of an operator builds its scalar with.

use crate::dim::Dim;
use crate::types::TensorType;
use kernel::{Affine, Binary, Combine, Compare, Elem, ExprId, Extent, Kernel, Literal, Subscript, Unary, VarId};

/// Answers what an operator cannot know: how an operand is read, and which extent a dim is.
pub trait Source {
    /// The element of an operand at these subscripts; outside its dims `otherwise`, if given. `None` if this operand
    /// cannot be read so.
    fn load(
        &mut self,
        kernel: &mut Kernel,
        operand: usize,
        at: Vec<Subscript>,
        otherwise: Option<Literal>,
    ) -> Option<ExprId>;

    fn extent(&mut self, kernel: &mut Kernel, dim: &Dim) -> Extent;

    /// An axis for a reduction to run over.
    fn axis(&mut self, kernel: &mut Kernel, name: &str, extent: Extent) -> VarId {
        kernel.axis(name, extent)
    }
}

/// The place where one output element is computed.
pub struct Compute<'a> {
    pub kernel: &'a mut Kernel,
    pub source: &'a mut dyn Source,
    /// Index of the output element.
    pub indices: Vec<Subscript>,
    pub operands: &'a [TensorType],
    pub output: &'a TensorType,
}

impl Compute<'_> {
    pub fn elem(&self) -> Elem {
        self.output.elem
    }

    pub fn load(&mut self, operand: usize, at: Vec<Subscript>) -> Option<ExprId> {
        self.source.load(self.kernel, operand, at, None)
    }

    pub fn load_padded(&mut self, operand: usize, at: Vec<Subscript>, otherwise: Literal) -> Option<ExprId> {
        self.source.load(self.kernel, operand, at, Some(otherwise))
    }

    /// The operand's element at the output's own index.
    pub fn same(&mut self, operand: usize) -> Option<ExprId> {
        self.load(operand, self.indices.clone())
    }

    pub fn constant(&mut self, value: f64) -> ExprId {
        let elem = self.elem();
        self.kernel.exprs.constant(elem, value)
    }

    pub fn unary(&mut self, op: Unary, a: ExprId) -> ExprId {
        self.kernel.exprs.unary(op, a)
    }

    pub fn binary(&mut self, op: Binary, a: ExprId, b: ExprId) -> ExprId {
        self.kernel.exprs.binary(op, a, b)
    }

    pub fn compare(&mut self, op: Compare, a: ExprId, b: ExprId) -> ExprId {
        self.kernel.exprs.compare(op, a, b)
    }

    /// An output index that is an affine, not one read from data.
    pub fn affine(&self, axis: usize) -> Option<Affine> {
        self.indices[axis].as_affine().cloned()
    }

    /// `op` over new axes with these dims of what `body` gives for their indices.
    pub fn reduce(
        &mut self,
        op: Combine,
        names: &[&str],
        dims: &[Dim],
        body: impl FnOnce(&mut Self, &[Affine]) -> Option<ExprId>,
    ) -> Option<ExprId> {
        let mut axes = vec![];
        let mut indices = vec![];
        for (name, dim) in names.iter().zip(dims) {
            // One value needs no axis.
            if *dim == Dim::int(1) {
                indices.push(Affine::default());
                continue;
            }
            let extent = self.source.extent(self.kernel, dim);
            let axis = self.source.axis(self.kernel, name, extent);
            axes.push(axis);
            indices.push(Affine::var(axis));
        }
        let body = body(self, &indices)?;
        Some(self.kernel.exprs.reduce(op, &axes, body))
    }
}

//! Types of tensors in a graph.

use crate::dim::Dim;
use std::fmt;
use tensor::Elem;

/// Element type and dims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    pub elem: Elem,
    pub dims: Vec<Dim>,
}

impl TensorType {
    pub fn new(elem: Elem, dims: Vec<Dim>) -> TensorType {
        TensorType { elem, dims }
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> Dim {
        self.dims.iter().cloned().product()
    }

    /// The same dims with another element type.
    pub fn with_elem(&self, elem: Elem) -> TensorType {
        TensorType { elem, dims: self.dims.clone() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(Dim::to_string).collect();
        write!(f, "{}[{}]", self.elem, dims.join(", "))
    }
}

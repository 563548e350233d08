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

    /// Whether a memory can hold what is known of the elements, and counting them yields a formula of reasonable length.
    pub fn is_countable(&self) -> bool {
        const ELEMENTS: u128 = 1 << 48;
        const TERMS: usize = 1 << 12;
        let (mut elements, mut terms) = (1u128, 1usize);
        for dim in &self.dims {
            let largest = dim.terms().map(|(_, c)| c.numer().unsigned_abs()).max().unwrap_or(0);
            elements = elements.saturating_mul(largest);
            terms = terms.saturating_mul(dim.terms().count().max(1));
        }
        elements <= ELEMENTS && terms <= TERMS
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

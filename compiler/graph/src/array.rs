//! Arrays of the reference interpreter: every element as f64, whatever its type.
//!
//! Floats are exact in f64, integers up to 2^53. Results are not rounded to f32: this is what rounding is measured
//! against.

use tensor::{Elem, Tensor};

#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub elem: Elem,
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl From<&Tensor> for Array {
    fn from(tensor: &Tensor) -> Array {
        Array::new(tensor.elem, tensor.shape.clone(), tensor.to_f64())
    }
}

impl Array {
    pub fn new(elem: Elem, shape: Vec<usize>, data: Vec<f64>) -> Array {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Array { elem, shape, data }
    }

    pub fn scalar(elem: Elem, value: f64) -> Array {
        Array { elem, shape: vec![], data: vec![value] }
    }

    /// The array whose element at each index is `f(index)`.
    pub fn from_fn(elem: Elem, shape: Vec<usize>, mut f: impl FnMut(&[usize]) -> f64) -> Array {
        let mut data = Vec::with_capacity(shape.iter().product());
        each_index(&shape, |index| data.push(f(index)));
        Array { elem, shape, data }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn offset(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.shape).fold(0, |offset, (i, n)| offset * n + i)
    }

    pub fn at(&self, index: &[usize]) -> f64 {
        self.data[self.offset(index)]
    }

    /// The element at a position that may lie outside.
    pub fn get(&self, index: &[i64]) -> Option<f64> {
        let inside = index.iter().zip(&self.shape).all(|(i, n)| (0..*n as i64).contains(i));
        inside.then(|| self.at(&index.iter().map(|i| *i as usize).collect::<Vec<_>>()))
    }

    pub fn map(&self, elem: Elem, f: impl Fn(f64) -> f64) -> Array {
        Array { elem, shape: self.shape.clone(), data: self.data.iter().map(|x| f(*x)).collect() }
    }

    /// Element by element; shapes are equal.
    pub fn zip(&self, other: &Array, elem: Elem, f: impl Fn(f64, f64) -> f64) -> Array {
        let data = self.data.iter().zip(&other.data).map(|(a, b)| f(*a, *b)).collect();
        Array { elem, shape: self.shape.clone(), data }
    }
}

/// Calls `visit` with every index of `shape`, in row-major order.
pub fn each_index(shape: &[usize], mut visit: impl FnMut(&[usize])) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    loop {
        visit(&index);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

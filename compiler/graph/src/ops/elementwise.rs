//! What operators on single elements share.

use super::same_dim;
use crate::error::OpError;
use crate::facts::Facts;
use crate::types::TensorType;
use tensor::Elem;

/// Element types an operator takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    Float,
    /// Floats and integers.
    Number,
    /// Integers and bool.
    Bits,
    Any,
}

impl Takes {
    pub fn check(self, operand: usize, ty: &TensorType) -> Result<(), OpError> {
        let (fits, expected) = match self {
            Takes::Float => (ty.elem.is_float(), "a float"),
            Takes::Number => (ty.elem != Elem::Bool, "a number"),
            Takes::Bits => (!ty.elem.is_float(), "an integer or bool"),
            Takes::Any => (true, ""),
        };
        match fits {
            true => Ok(()),
            false => Err(OpError::Elem { operand, expected: expected.into(), got: ty.elem }),
        }
    }
}

/// Both operands have one type.
pub fn same_types(x: &TensorType, y: &TensorType, facts: &Facts) -> Result<(), OpError> {
    if x.elem != y.elem {
        return Err(OpError::Elem { operand: 1, expected: x.elem.to_string(), got: y.elem });
    }
    if x.rank() != y.rank() {
        return Err(OpError::Rank { operand: 1, expected: x.rank().to_string(), got: y.rank() });
    }
    x.dims.iter().zip(&y.dims).enumerate().try_for_each(|(i, (a, b))| same_dim(i, a, b, facts))
}

/// Implements [`super::Primitive`] for a function of one element.
macro_rules! unary {
    ($Op:ident, $takes:ident, $eval:expr, $kernel:expr, $tolerance:expr) => {
        impl crate::ops::Primitive for $Op {
            fn infer(
                &self,
                x: &[crate::TensorType],
                _: &crate::Facts,
            ) -> Result<Vec<crate::TensorType>, crate::OpError> {
                let [x] = crate::ops::take(x)?;
                crate::ops::elementwise::Takes::$takes.check(0, x)?;
                Ok(vec![x.clone()])
            }

            fn eval(&self, x: &[crate::Array], _: crate::ops::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
                Ok(vec![x[0].map(x[0].elem, $eval)])
            }

            fn compute(&self, c: &mut crate::Compute) -> Option<kernel::ExprId> {
                let x = c.same(0)?;
                Some(c.unary($kernel, x))
            }

            fn tolerance(&self) -> f64 {
                $tolerance
            }
        }
    };
}

/// Implements [`super::Primitive`] for a function of two elements of one type.
macro_rules! binary {
    ($Op:ident, $takes:ident, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr, $tolerance:expr) => {
        binary!(@ $Op, $takes, |x: &crate::TensorType| x.clone(), |x: &crate::Array| x.elem, $eval, |$c, $x, $y| $compute, $tolerance);
    };
    ($Op:ident to bool, $takes:ident, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr) => {
        binary!(@ $Op, $takes, |x: &crate::TensorType| x.with_elem(tensor::Elem::Bool), |_: &crate::Array| tensor::Elem::Bool,
            |a, b| ($eval)(&a, &b) as i32 as f64, |$c, $x, $y| $compute, 0.0);
    };
    (@ $Op:ident, $takes:ident, $ty:expr, $elem:expr, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr, $tolerance:expr) => {
        impl crate::ops::Primitive for $Op {
            fn infer(&self, x: &[crate::TensorType], facts: &crate::Facts) -> Result<Vec<crate::TensorType>, crate::OpError> {
                let [x, y] = crate::ops::take(x)?;
                crate::ops::elementwise::Takes::$takes.check(0, x)?;
                crate::ops::elementwise::same_types(x, y, facts)?;
                Ok(vec![($ty)(x)])
            }

            fn eval(&self, x: &[crate::Array], _: crate::ops::Sizes) -> Result<Vec<crate::Array>, crate::OpError> {
                Ok(vec![x[0].zip(&x[1], ($elem)(&x[0]), $eval)])
            }

            fn compute(&self, $c: &mut crate::Compute) -> Option<kernel::ExprId> {
                let ($x, $y) = ($c.same(0)?, $c.same(1)?);
                Some($compute)
            }

            fn tolerance(&self) -> f64 {
                $tolerance
            }
        }
    };
}

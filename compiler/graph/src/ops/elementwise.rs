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
    Integer,
    /// Integers and bool.
    Bits,
    Any,
}

impl Takes {
    pub fn check(self, operand: usize, ty: &TensorType) -> Result<(), OpError> {
        let (fits, expected) = match self {
            Takes::Float => (ty.elem.is_float(), "a float"),
            Takes::Number => (ty.elem != Elem::Bool, "a number"),
            Takes::Integer => (ty.elem.is_int(), "an integer"),
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

/// The integer that memory of this element type holds after storing `value`.
pub fn wrap(elem: Elem, value: i64) -> f64 {
    match elem {
        Elem::I32 => value as i32 as f64,
        Elem::I16 => value as i16 as f64,
        Elem::I8 => value as i8 as f64,
        Elem::U64 => value as u64 as f64,
        Elem::U32 => value as u32 as f64,
        Elem::U16 => value as u16 as f64,
        Elem::U8 => value as u8 as f64,
        _ => value as f64,
    }
}

/// Implements [`super::Primitive`] for a function of one element. The gradient is an expression of the operand, the
/// result and `dy`, or `zero`.
macro_rules! unary {
    ($Op:ident, $takes:ident, $eval:expr, $kernel:expr, $tolerance:expr, zero) => {
        unary!(@ $Op, $takes, $eval, $kernel, $tolerance, |_: &crate::Vjp| crate::Grad::Zero);
    };
    ($Op:ident, $takes:ident, $eval:expr, $kernel:expr, $tolerance:expr, |$v:ident, $x:pat_param, $y:pat_param, $dy:ident| $gradient:expr) => {
        unary!(@ $Op, $takes, $eval, $kernel, $tolerance, |$v: &crate::Vjp| {
            let ($x, $y, $dy) = ($v.x[0], $v.y[0], $v.dy[0]);
            crate::Grad::To($gradient)
        });
    };
    (@ $Op:ident, $takes:ident, $eval:expr, $kernel:expr, $tolerance:expr, $vjp:expr) => {
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

            fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
                vec![($vjp)(v)]
            }

            fn tolerance(&self) -> f64 {
                $tolerance
            }
        }
    };
}

/// Implements [`super::Primitive`] for a function of two elements of one type. The gradients are expressions of the
/// operands, the result and `dy`, or `zero`.
macro_rules! binary {
    ($Op:ident, $takes:ident, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr, $tolerance:expr, zero) => {
        binary!(@ $Op, $takes, $eval, |$c, $x, $y| $compute, $tolerance, |_: &crate::Vjp| vec![crate::Grad::Zero, crate::Grad::Zero]);
    };
    (
        $Op:ident, $takes:ident, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr, $tolerance:expr,
        |$v:ident, $a:pat_param, $b:pat_param, $result:pat_param, $dy:ident| $da:expr, $db:expr
    ) => {
        binary!(@ $Op, $takes, $eval, |$c, $x, $y| $compute, $tolerance, |$v: &crate::Vjp| {
            let ($a, $b, $result, $dy) = ($v.x[0], $v.x[1], $v.y[0], $v.dy[0]);
            vec![crate::Grad::To($da), crate::Grad::To($db)]
        });
    };
    ($Op:ident to bool, $takes:ident, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr) => {
        binary!(@@ $Op, $takes, |x: &crate::TensorType| x.with_elem(tensor::Elem::Bool), |_: &crate::Array| tensor::Elem::Bool,
            |a, b| ($eval)(&a, &b) as i32 as f64, |$c, $x, $y| $compute, 0.0,
            |_: &crate::Vjp| vec![crate::Grad::Zero, crate::Grad::Zero]);
    };
    (@ $Op:ident, $takes:ident, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr, $tolerance:expr, $vjp:expr) => {
        binary!(@@ $Op, $takes, |x: &crate::TensorType| x.clone(), |x: &crate::Array| x.elem, $eval, |$c, $x, $y| $compute, $tolerance, $vjp);
    };
    (@@ $Op:ident, $takes:ident, $ty:expr, $elem:expr, $eval:expr, |$c:ident, $x:ident, $y:ident| $compute:expr, $tolerance:expr, $vjp:expr) => {
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

            fn vjp(&self, v: &crate::Vjp) -> Vec<crate::Grad> {
                ($vjp)(v)
            }

            fn tolerance(&self) -> f64 {
                $tolerance
            }
        }
    };
}

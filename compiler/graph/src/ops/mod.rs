//! The operators, one file each, and the list of them.
//!
//! A file answers every question asked of its operator: documentation, text name, operands and attributes (`op!`),
//! result types (`infer`), reference semantics (`eval`), the value of one output element in kernel vocabulary
//! (`compute`), its gradient (`vjp`), tolerance. What others can express is not an operator but a function in the standard library.

mod attributes;
mod indexed;
mod order;
mod reduce;
mod window;
#[macro_use]
mod elementwise;

use crate::array::Array;
use crate::compute::Compute;
use crate::dim::Dim;
use crate::error::OpError;
use crate::facts::{Facts, Verdict};
use crate::gradient::{Grad, Vjp};
use crate::types::TensorType;
pub use attributes::{Attr, AttrInfo, AttrType};
use kernel::{Elem, ExprId};
pub use scan::moved;

/// What kind of code an operator becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One output element is an expression over operand elements, reductions included.
    Element,
    /// Each element depends on those before it along an axis.
    Prefix,
    /// Stores at places read from data.
    Scatter,
    /// A routine of the engine.
    Library,
    /// No kernel of its own.
    Structural,
}

/// What is known of an operator without its attributes.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    pub name: &'static str,
    pub doc: &'static str,
    pub operands: &'static [&'static str],
    pub attributes: &'static [AttrInfo],
    pub kind: Kind,
}

/// Sizes of one run of the reference interpreter.
pub type Sizes<'a> = &'a dyn Fn(&str) -> Option<i64>;

/// A routine of the engine that computes an operator which is no loop nest. It is called like a kernel: with the operands
/// and results in memory, row-major, and with sizes.
#[derive(Clone, Debug)]
pub struct Routine {
    /// The engine's name for it.
    pub name: &'static str,
    /// What it asks for, the number of its tasks first.
    pub sizes: Vec<Dim>,
    /// Operations, roughly.
    pub work: Dim,
}

pub trait Primitive {
    /// Types of the results.
    fn infer(&self, x: &[TensorType], facts: &Facts) -> Result<Vec<TensorType>, OpError>;

    /// The reference: slow, plain, accumulating in f64, sharing nothing with `compute`.
    fn eval(&self, x: &[Array], sizes: Sizes) -> Result<Vec<Array>, OpError>;

    /// The value of one output element; `None` if this operator, or this use of it, has none.
    fn compute(&self, _: &mut Compute) -> Option<ExprId> {
        None
    }

    /// What computes this operator where it has no `compute`, given the types of operands and results.
    fn routine(&self, _x: &[TensorType], _y: &[TensorType]) -> Option<Routine> {
        None
    }

    /// For each operand, how a scalar changes with it, given how it changes with the results (`v.dy`).
    fn vjp(&self, v: &Vjp) -> Vec<Grad>;

    /// Largest error of an f32 kernel, relative to the largest magnitude of the exact result.
    fn tolerance(&self) -> f64 {
        0.0
    }
}

/// Declares an operator: documentation, text name, struct, operands, attributes with defaults, kind.
macro_rules! op {
    (
        $(#[doc = $doc:literal])+
        $name:literal = $Op:ident($($operand:ident),*) { $($attr:ident: $ty:ty $(= $default:expr)?),* $(,)? } kind $kind:ident
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $Op {
            $(pub $attr: $ty),*
        }

        /// Equal operators have equal attributes.
        impl PartialEq for $Op {
            fn eq(&self, other: &$Op) -> bool {
                self.attributes() == other.attributes()
            }
        }

        impl $Op {
            pub const INFO: crate::ops::OpInfo = crate::ops::OpInfo {
                name: $name,
                doc: concat!($($doc, "\n"),+),
                operands: &[$(stringify!($operand)),*],
                attributes: &[$(crate::ops::AttrInfo {
                    name: stringify!($attr),
                    kind: <$ty as crate::ops::AttrType>::KIND,
                    optional: op!(@optional $($default)?),
                }),*],
                kind: crate::ops::Kind::$kind,
            };

            pub(super) fn attributes(&self) -> Vec<(&'static str, crate::ops::Attr)> {
                vec![$((stringify!($attr), crate::ops::AttrType::to_attr(&self.$attr))),*]
            }

            pub(super) fn build(attributes: &[(String, crate::ops::Attr)]) -> Result<$Op, crate::error::OpError> {
                let known = [$(stringify!($attr)),*] as [&str; <[&str]>::len(&[$(stringify!($attr)),*])];
                if let Some((name, _)) = attributes.iter().find(|(n, _)| !known.contains(&n.as_str())) {
                    return Err(crate::error::OpError::Attribute {
                        name: name.clone(),
                        expected: match known.is_empty() {
                            true => format!("left out: {} takes none", $name),
                            false => format!("one of those of {}: {}", $name, known.join(", ")),
                        },
                    });
                }
                Ok($Op {
                    $($attr: match attributes.iter().find(|(n, _)| n == stringify!($attr)) {
                        Some((_, value)) => crate::ops::AttrType::from_attr(value).ok_or_else(|| {
                            crate::error::OpError::Attribute {
                                name: stringify!($attr).into(),
                                expected: <$ty as crate::ops::AttrType>::KIND.into(),
                            }
                        })?,
                        None => op!(@default $attr, $ty $(, $default)?),
                    }),*
                })
            }
        }
    };
    (@optional) => { false };
    (@optional $default:expr) => { true };
    (@default $attr:ident, $ty:ty) => {
        return Err(crate::error::OpError::Attribute {
            name: stringify!($attr).into(),
            expected: format!("given: {}", <$ty as crate::ops::AttrType>::KIND),
        })
    };
    (@default $attr:ident, $ty:ty, $default:expr) => { $default };
}

/// The list: each operator's file once. Generates the closed enum and its dispatch.
macro_rules! ops {
    ($($file:ident::$Op:ident),* $(,)?) => {
        $(mod $file;)*
        $(pub use $file::$Op;)*

        /// Any operator.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            /// An operand of the whole graph, by name.
            Operand(String),
            $($Op($Op)),*
        }

        $(impl From<$Op> for Op {
            fn from(op: $Op) -> Op {
                Op::$Op(op)
            }
        })*

        /// Every operator.
        pub const ALL: &[OpInfo] = &[$($Op::INFO),*];

        impl Op {
            fn primitive(&self) -> Option<&dyn Primitive> {
                match self {
                    Op::Operand(_) => None,
                    $(Op::$Op(op) => Some(op)),*
                }
            }

            pub fn name(&self) -> &'static str {
                match self {
                    Op::Operand(_) => "operand",
                    $(Op::$Op(_) => $Op::INFO.name),*
                }
            }

            pub fn kind(&self) -> Kind {
                match self {
                    Op::Operand(_) => Kind::Structural,
                    $(Op::$Op(_) => $Op::INFO.kind),*
                }
            }

            pub fn attributes(&self) -> Vec<(&'static str, Attr)> {
                match self {
                    Op::Operand(name) => vec![("name", Attr::Str(name.clone()))],
                    $(Op::$Op(op) => op.attributes()),*
                }
            }
        }

        /// The operator called `name` with these attributes; `None` if there is no such operator.
        pub fn build(name: &str, attributes: &[(String, Attr)]) -> Option<Result<Op, OpError>> {
            match name {
                $(n if n == $Op::INFO.name => Some($Op::build(attributes).map(Op::from)),)*
                _ => None,
            }
        }
    };
}

ops! {
    neg::Neg, abs::Abs, floor::Floor, ceil::Ceil, round::Round, exp::Exp, expm1::Expm1, log::Log, log1p::Log1p,
    sqrt::Sqrt, rsqrt::Rsqrt, sin::Sin, cos::Cos, atan::Atan, tanh::Tanh, sigmoid::Sigmoid, erf::Erf,
    bit_not::BitNot,
    add::Add, sub::Sub, mul::Mul, div::Div, rem::Rem, pow::Pow, maximum::Maximum, minimum::Minimum,
    eq::Eq, lt::Lt, le::Le, bit_and::BitAnd, bit_or::BitOr, bit_xor::BitXor,
    shift_left::ShiftLeft, shift_right::ShiftRight,
    where_::Where, cast::Cast,
    sum::Sum, prod::Prod, max::Max, min::Min, argmax::Argmax, prefix::Prefix,
    dot::Dot, conv::Conv, conv_transpose::ConvTranspose, pool::Pool,
    reshape::Reshape, transpose::Transpose, expand::Expand, slice::Slice, pad::Pad, concat::Concat, flip::Flip,
    arange::Arange, full::Full, take::Take, gather::Gather, slice_at::SliceAt,
    scatter_add::ScatterAdd, scatter::Scatter, update_at::UpdateAt, sort::Sort, top_k::TopK,
    random_bits::RandomBits,
    constant::Constant, dim::DimValue, size::Size, stop_gradient::StopGradient, scan::Scan,
    with_gradient::WithGradient, extern_::Extern,
}

impl Op {
    pub fn operand(name: String) -> Op {
        Op::Operand(name)
    }

    /// The graph inside.
    pub fn body(&self) -> Option<&crate::Graph> {
        match self {
            Op::Scan(scan) => Some(&scan.body),
            Op::WithGradient(with) => Some(&with.body),
            _ => None,
        }
    }

    pub fn infer(&self, x: &[TensorType], facts: &Facts) -> Result<Vec<TensorType>, OpError> {
        match self.primitive() {
            Some(op) => op.infer(x, facts),
            None => Ok(vec![]),
        }
    }

    pub fn eval(&self, x: &[Array], sizes: Sizes) -> Result<Vec<Array>, OpError> {
        match self.primitive() {
            Some(op) => op.eval(x, sizes),
            None => Err(OpError::Condition("an operand of the graph has no value of its own".into())),
        }
    }

    pub fn compute(&self, c: &mut Compute) -> Option<ExprId> {
        self.primitive()?.compute(c)
    }

    pub fn routine(&self, x: &[TensorType], y: &[TensorType]) -> Option<Routine> {
        self.primitive()?.routine(x, y)
    }

    pub fn vjp(&self, v: &Vjp) -> Vec<Grad> {
        self.primitive().map_or(vec![], |op| op.vjp(v))
    }

    pub fn tolerance(&self) -> f64 {
        self.primitive().map_or(0.0, Primitive::tolerance)
    }
}

/// The operator's operands, as many as it takes.
pub(crate) fn take<'a, const N: usize>(x: &'a [TensorType]) -> Result<&'a [TensorType; N], OpError> {
    x.try_into().map_err(|_| OpError::Condition(format!("takes {N} operands, got {}", x.len())))
}

/// The place of an element type in [`Elem::ALL`], by which routines know it.
pub(crate) fn elem_number(elem: Elem) -> Dim {
    Dim::int(elem as i64)
}

/// What lies before an axis, the axis, and what lies behind it, as sizes of a routine; the first is its tasks.
pub(crate) fn around(dims: &[Dim], axis: usize) -> [Dim; 3] {
    let all = |dims: &[Dim]| dims.iter().cloned().product::<Dim>();
    [all(&dims[..axis]), dims[axis].clone(), all(&dims[axis + 1..])]
}

/// Two dims that must be equal.
pub(crate) fn same_dim(axis: usize, a: &crate::Dim, b: &crate::Dim, facts: &Facts) -> Result<(), OpError> {
    match facts.eq(a, b) {
        Verdict::Proved => Ok(()),
        verdict => {
            Err(OpError::Sizes { axis, left: a.clone(), right: b.clone(), refuted: verdict == Verdict::Refuted })
        }
    }
}

pub(crate) fn axis_in_range(axis: usize, rank: usize) -> Result<(), OpError> {
    match axis < rank {
        true => Ok(()),
        false => Err(OpError::Condition(format!("axis {axis} of a tensor of rank {rank}"))),
    }
}

/// Axes of a tensor of this rank, each at most once.
pub(crate) fn distinct_axes(axes: &[usize], rank: usize) -> Result<(), OpError> {
    for (i, axis) in axes.iter().enumerate() {
        axis_in_range(*axis, rank)?;
        if axes[..i].contains(axis) {
            return Err(OpError::Condition(format!("axis {axis} is named twice")));
        }
    }
    Ok(())
}

/// A dim's value in one run of the interpreter.
pub(crate) fn size(dim: &crate::Dim, sizes: Sizes) -> Result<usize, OpError> {
    let value = dim.eval(&|name| sizes(name)).and_then(|n| usize::try_from(n).ok());
    value.ok_or_else(|| OpError::Condition(format!("the size {dim} is not known here")))
}

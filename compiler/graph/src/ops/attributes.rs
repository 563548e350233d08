//! Attributes of operators: values known when compiling.

use crate::array::Array;
use crate::dim::Dim;
use crate::nodes::Graph;
use tensor::Elem;

/// An attribute as front ends and text forms see it.
#[derive(Clone, Debug)]
pub enum Attr {
    Dim(Dim),
    Float(f64),
    Bool(bool),
    Str(String),
    Elem(Elem),
    List(Vec<Attr>),
    Array(Array),
    Graph(Box<Graph>),
}

/// Numbers are equal if nothing can tell them apart: NaN is NaN, and 0 is not -0.
impl PartialEq for Attr {
    fn eq(&self, other: &Attr) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        match (self, other) {
            (Attr::Dim(a), Attr::Dim(b)) => a == b,
            (Attr::Float(a), Attr::Float(b)) => same(*a, *b),
            (Attr::Bool(a), Attr::Bool(b)) => a == b,
            (Attr::Str(a), Attr::Str(b)) => a == b,
            (Attr::Elem(a), Attr::Elem(b)) => a == b,
            (Attr::List(a), Attr::List(b)) => a == b,
            (Attr::Array(a), Attr::Array(b)) => {
                (a.elem, &a.shape) == (b.elem, &b.shape) && a.data.iter().zip(&b.data).all(|(a, b)| same(*a, *b))
            }
            (Attr::Graph(a), Attr::Graph(b)) => a == b,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct AttrInfo {
    pub name: &'static str,
    /// What it must be, for messages.
    pub kind: &'static str,
    pub optional: bool,
}

/// A Rust type that an attribute can have.
pub trait AttrType: Sized {
    const KIND: &'static str;
    fn to_attr(&self) -> Attr;
    fn from_attr(attr: &Attr) -> Option<Self>;
}

macro_rules! attr_types {
    ($($ty:ty, $kind:literal, |$x:ident| $to:expr, |$a:ident| $from:expr;)*) => {$(
        impl AttrType for $ty {
            const KIND: &'static str = $kind;

            fn to_attr(&self) -> Attr {
                let $x = self;
                $to
            }

            fn from_attr($a: &Attr) -> Option<Self> {
                $from
            }
        }
    )*};
}

attr_types! {
    Dim, "a size", |x| Attr::Dim(x.clone()), |a| match a { Attr::Dim(d) => Some(d.clone()), _ => None };
    i64, "an integer", |x| Attr::Dim(Dim::int(*x)), |a| match a { Attr::Dim(d) => d.as_int(), _ => None };
    usize, "an axis", |x| Attr::Dim(Dim::int(*x as i64)), |a| i64::from_attr(a)?.try_into().ok();
    bool, "true or false", |x| Attr::Bool(*x), |a| match a { Attr::Bool(b) => Some(*b), _ => None };
    Elem, "an element type", |x| Attr::Elem(*x), |a| match a { Attr::Elem(e) => Some(*e), _ => None };
    String, "a string", |x| Attr::Str(x.clone()), |a| match a { Attr::Str(s) => Some(s.clone()), _ => None };
    Box<Graph>, "a graph", |x| Attr::Graph(x.clone()), |a| match a { Attr::Graph(g) => Some(g.clone()), _ => None };
    Array, "a constant", |x| Attr::Array(x.clone()), |a| match a { Attr::Array(x) => Some(x.clone()), _ => None };
    f64, "a number", |x| Attr::Float(*x), |a| match a {
        Attr::Float(x) => Some(*x),
        Attr::Dim(d) => d.as_rational().map(|r| *r.numer() as f64 / *r.denom() as f64),
        Attr::Bool(b) => Some(*b as i32 as f64),
        _ => None,
    };
    Vec<Dim>, "a list of sizes", |x| list(x), |a| items(a);
    Vec<usize>, "a list of axes", |x| list(x), |a| items(a);
    Vec<i64>, "a list of integers", |x| list(x), |a| items(a);
    Vec<f64>, "a list of numbers", |x| list(x), |a| items(a);
    (i64, i64), "a pair of integers", |x| list(&[x.0, x.1]), |a| match items::<i64>(a)?[..] {
        [x, y] => Some((x, y)),
        _ => None,
    };
    Vec<(i64, i64)>, "a list of pairs of integers", |x| list(x), |a| items(a);
}

fn list<T: AttrType>(items: &[T]) -> Attr {
    Attr::List(items.iter().map(T::to_attr).collect())
}

fn items<T: AttrType>(attr: &Attr) -> Option<Vec<T>> {
    match attr {
        Attr::List(items) => items.iter().map(T::from_attr).collect(),
        _ => None,
    }
}

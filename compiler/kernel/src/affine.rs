//! Affine index arithmetic: sums of loop variables with constant or run-time coefficients.
//!
//! Subscripts, strides and loop bounds are all [`Affine`]. A coefficient is a constant, or a constant times one
//! run-time size: that covers row-major strides of buffers whose inner dims are known only when running.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

ids! {
    /// A loop variable: an axis of a nest, a loop of a scheduled kernel.
    VarId "v"
    /// A run-time size: an argument of the kernel, or derived from arguments once per call.
    SizeId "s"
    /// A buffer of a kernel.
    BufferId "b"
    /// A scalar expression in a kernel's arena.
    ExprId "e"
}

/// `factor * size * var`; an absent part counts as 1, and a term has at least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term {
    pub var: Option<VarId>,
    pub size: Option<SizeId>,
    pub factor: i64,
}

/// `constant + Σ terms`, in normal form: terms sorted by variable and size, none zero, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Affine {
    pub constant: i64,
    terms: Vec<Term>,
}

impl Affine {
    pub fn constant(constant: i64) -> Affine {
        Affine { constant, terms: vec![] }
    }

    pub fn var(var: VarId) -> Affine {
        Affine { constant: 0, terms: vec![Term { var: Some(var), size: None, factor: 1 }] }
    }

    pub fn size(size: SizeId) -> Affine {
        Affine { constant: 0, terms: vec![Term { var: None, size: Some(size), factor: 1 }] }
    }

    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The variable, if this is one variable and nothing else.
    pub fn as_var(&self) -> Option<VarId> {
        match (self.constant, self.terms.as_slice()) {
            (0, [Term { var: Some(var), size: None, factor: 1 }]) => Some(*var),
            _ => None,
        }
    }

    pub fn add_term(&mut self, term: Term) {
        if term.var.is_none() && term.size.is_none() {
            self.constant += term.factor;
            return;
        }
        match self.terms.binary_search_by_key(&(term.var, term.size), |t| (t.var, t.size)) {
            Ok(i) => {
                self.terms[i].factor += term.factor;
                if self.terms[i].factor == 0 {
                    self.terms.remove(i);
                }
            }
            Err(i) if term.factor != 0 => self.terms.insert(i, term),
            Err(_) => {}
        }
    }

    /// `self + other * factor`
    pub fn plus(mut self, other: &Affine, factor: i64) -> Affine {
        self.constant += other.constant * factor;
        for term in &other.terms {
            self.add_term(Term { factor: term.factor * factor, ..*term });
        }
        self
    }

    pub fn times(&self, factor: i64) -> Affine {
        Affine::default().plus(self, factor)
    }

    pub fn offset(mut self, constant: i64) -> Affine {
        self.constant += constant;
        self
    }

    /// Variables that occur, each once, in order.
    pub fn vars(&self) -> impl Iterator<Item = VarId> + '_ {
        let mut last = None;
        self.terms.iter().filter_map(|t| t.var).filter(move |v| last.replace(*v) != Some(*v))
    }

    pub fn uses(&self, var: VarId) -> bool {
        self.terms.iter().any(|t| t.var == Some(var))
    }

    /// The constant coefficient of `var`; `None` if a run-time size takes part in it.
    pub fn coefficient(&self, var: VarId) -> Option<i64> {
        let mut factor = 0;
        for term in self.terms.iter().filter(|t| t.var == Some(var)) {
            match term.size {
                None => factor = term.factor,
                Some(_) => return None,
            }
        }
        Some(factor)
    }

    /// The part without `var`.
    pub fn without(&self, var: VarId) -> Affine {
        let terms = self.terms.iter().filter(|t| t.var != Some(var)).copied().collect();
        Affine { constant: self.constant, terms }
    }

    /// The value, given that of every variable and size.
    pub fn evaluate(&self, var: &impl Fn(VarId) -> i64, size: &impl Fn(SizeId) -> i64) -> i64 {
        self.constant + self.terms.iter().map(|t| t.factor * t.var.map_or(1, var) * t.size.map_or(1, size)).sum::<i64>()
    }
}

impl std::ops::Add for Affine {
    type Output = Affine;

    fn add(self, other: Affine) -> Affine {
        self.plus(&other, 1)
    }
}

impl std::ops::Sub for Affine {
    type Output = Affine;

    fn sub(self, other: Affine) -> Affine {
        self.plus(&other, -1)
    }
}

impl From<VarId> for Affine {
    fn from(var: VarId) -> Affine {
        Affine::var(var)
    }
}

impl From<i64> for Affine {
    fn from(constant: i64) -> Affine {
        Affine::constant(constant)
    }
}

/// The number of values an axis or a dim takes: a constant, or one run-time size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extent {
    Const(i64),
    Size(SizeId),
}

impl Extent {
    pub fn as_const(self) -> Option<i64> {
        match self {
            Extent::Const(n) => Some(n),
            Extent::Size(_) => None,
        }
    }
}

impl From<Extent> for Affine {
    fn from(extent: Extent) -> Affine {
        match extent {
            Extent::Const(n) => Affine::constant(n),
            Extent::Size(s) => Affine::size(s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_is_unique() {
        let (i, n) = (VarId(0), SizeId(0));
        let mut a = Affine::var(i).times(3).plus(&Affine::size(n), 2).offset(5);
        let b = Affine::constant(5) + Affine::size(n).times(2) + Affine::var(i) + Affine::var(i).times(2);
        assert_eq!(a, b);
        a.add_term(Term { var: Some(i), size: None, factor: -3 });
        assert_eq!(a.vars().count(), 0);
        assert_eq!(a.evaluate(&|_| 0, &|_| 7), 19);
    }

    #[test]
    fn a_run_time_coefficient_is_not_a_constant_one() {
        let (i, n) = (VarId(0), SizeId(0));
        let mut a = Affine::var(i).times(4);
        assert_eq!(a.coefficient(i), Some(4));
        a.add_term(Term { var: Some(i), size: Some(n), factor: 2 });
        assert_eq!(a.coefficient(i), None);
        assert_eq!(a.evaluate(&|_| 10, &|_| 3), 100);
    }
}

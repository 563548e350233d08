//! What is known about sizes, and what follows from it.

use crate::dim::{self, Rational};
use crate::dim::{Atom, Dim};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Three answers: shown, shown to be false, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Proved,
    Refuted,
    Unknown,
}

/// A condition on sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Eq(Dim, Dim),
    Le(Dim, Dim),
    Divides { divisor: Dim, of: Dim },
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fact::Eq(a, b) => write!(f, "{a} == {b}"),
            Fact::Le(a, b) => write!(f, "{a} <= {b}"),
            Fact::Divides { divisor, of } => write!(f, "{of} % {divisor} == 0"),
        }
    }
}

/// Everything assumed in one entry. Named sizes are at least 1, but for those that data chooses: of these `0 <= n` is
/// assumed, and that is what lets them be 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// In the order in which they were taken.
    assumed: Vec<Fact>,
    /// Equalities and divisibilities, applied as substitutions.
    known: BTreeMap<Arc<str>, Dim>,
    /// Differences that are not negative: `b - a` for `a <= b`.
    nonnegative: Vec<Dim>,
    /// Sizes that may be 0.
    from_zero: BTreeSet<Arc<str>>,
}

impl Facts {
    /// Takes a fact as true from here on.
    pub fn assume(&mut self, fact: &Fact) {
        self.assumed.push(fact.clone());
        match fact {
            Fact::Le(a, b) if *a == Dim::int(0) && b.as_var().is_some() => {
                self.from_zero.extend(b.as_var().map(Arc::from));
            }
            Fact::Le(a, b) => {
                let difference = self.normalize(&(b.clone() - a.clone()));
                self.nonnegative.push(difference);
            }
            Fact::Eq(a, b) => {
                let (a, b) = (self.normalize(a), self.normalize(b));
                match (a.as_var(), b.as_var()) {
                    (Some(name), _) if !b.vars().contains(&name.into()) => self.define(name, b.clone()),
                    (_, Some(name)) if !a.vars().contains(&name.into()) => self.define(name, a.clone()),
                    _ => {
                        self.nonnegative.push(a.clone() - b.clone());
                        self.nonnegative.push(b - a);
                    }
                }
            }
            Fact::Divides { divisor, of } => {
                let of = self.normalize(of);
                if let (Some(name), Some(_)) = (of.as_var(), divisor.as_int()) {
                    self.define(name, divisor.clone() * Dim::var(&format!("{name}'")));
                }
            }
        }
    }

    /// What `assume` was told, in order.
    pub fn assumed(&self) -> &[Fact] {
        &self.assumed
    }

    fn define(&mut self, name: &str, dim: Dim) {
        let replace = |d: &Dim| d.substitute(&|v| (v == name).then(|| dim.clone()));
        self.known.values_mut().for_each(|d| *d = replace(d));
        self.nonnegative.iter_mut().for_each(|d| *d = replace(d));
        self.known.insert(name.into(), dim);
    }

    /// The dim with all equalities applied.
    pub fn normalize(&self, dim: &Dim) -> Dim {
        if self.known.is_empty() {
            return dim.clone();
        }
        dim.substitute(&|name| self.known.get(name).cloned())
    }

    pub fn eq(&self, a: &Dim, b: &Dim) -> Verdict {
        let difference = self.normalize(&(a.clone() - b.clone()));
        if difference == Dim::int(0) {
            return Verdict::Proved;
        }
        let one = Dim::int(1);
        let positive = |d: Dim| self.is_nonnegative(&(d - one.clone()));
        if positive(difference.clone()) || positive(difference.times(-1)) {
            return Verdict::Refuted;
        }
        Verdict::Unknown
    }

    pub fn le(&self, a: &Dim, b: &Dim) -> Verdict {
        let difference = self.normalize(&(b.clone() - a.clone()));
        if self.is_nonnegative(&difference) {
            return Verdict::Proved;
        }
        if self.is_nonnegative(&(difference.times(-1) - Dim::int(1))) {
            return Verdict::Refuted;
        }
        Verdict::Unknown
    }

    pub fn holds(&self, fact: &Fact) -> Verdict {
        match fact {
            Fact::Eq(a, b) => self.eq(a, b),
            Fact::Le(a, b) => self.le(a, b),
            Fact::Divides { divisor, of } => {
                let rest = self.normalize(&of.rem(divisor));
                match rest.as_int() {
                    Some(0) => Verdict::Proved,
                    Some(_) => Verdict::Refuted,
                    None => Verdict::Unknown,
                }
            }
        }
    }

    /// The largest value of a dim, if the facts give one.
    pub fn upper_bound(&self, dim: &Dim) -> Option<i64> {
        let dim = self.normalize(dim);
        if let Some(n) = dim.as_int() {
            return Some(n);
        }
        let name = dim.as_var()?;
        // A fact `n - name >= 0`.
        let bounds = self.nonnegative.iter().filter_map(|d| (d.clone() + Dim::var(name)).as_int());
        bounds.min()
    }

    /// By signs of coefficients, after taking away at most two known differences.
    fn is_nonnegative(&self, dim: &Dim) -> bool {
        let facts = &self.nonnegative;
        self.by_signs(dim)
            || facts.iter().any(|f| self.by_signs(&(dim.clone() - f.clone())))
            || facts.iter().any(|f| facts.iter().any(|g| self.by_signs(&(dim.clone() - f.clone() - g.clone()))))
    }

    /// Whether no integer that the dim can be is negative: with every named size written as its least value + v,
    /// v >= 0, remainders between 0 and what they divide by, and other atoms at least 0, no coefficient is negative and
    /// the rest is above -1.
    fn by_signs(&self, dim: &Dim) -> bool {
        let least = |name: &str| Dim::int(!self.from_zero.contains(name) as i64);
        let shifted = without_floors(dim).substitute(&|name| Some(Dim::var(name) + least(name)));
        let zero = Rational::from_integer(0);
        let mut least = zero;
        for (monomial, factor) in shifted.terms() {
            match &monomial[..] {
                [] => least = dim::sum(least, factor),
                [(Atom::Rem(_, by), 1)] if factor < zero && by.as_int().is_some_and(|n| n > 0) => {
                    let most = Rational::from_integer((by.as_int().unwrap_or(1) - 1).into());
                    least = dim::sum(least, dim::product(factor, most));
                }
                _ if factor < zero => return false,
                _ => {}
            }
        }
        least > Rational::from_integer(-1)
    }
}

/// `floor(p / c)` written as `(p - p % c) / c`, so that `p` may cancel.
fn without_floors(dim: &Dim) -> Dim {
    let mut out = Dim::int(0);
    for (monomial, factor) in dim.terms() {
        let mut product = Dim::rational(factor);
        for (atom, power) in monomial {
            let base = match atom {
                Atom::Floor(p, c) if c.as_int().is_some_and(|c| c > 0) => {
                    let multiple = without_floors(p) - p.rem(c);
                    multiple.div(c).unwrap_or_else(|| Dim::atom(atom.clone()))
                }
                _ => Dim::atom(atom.clone()),
            };
            for _ in 0..*power {
                product = product * base.clone();
            }
        }
        out = out + product;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(name: &str) -> Dim {
        Dim::var(name)
    }

    #[test]
    fn signs_and_differences() {
        let mut facts = Facts::default();
        assert_eq!(facts.eq(&v("T"), &v("S")), Verdict::Unknown);
        assert_eq!(facts.eq(&(v("T") + Dim::int(1)), &v("T")), Verdict::Refuted);
        assert_eq!(facts.le(&Dim::int(1), &v("T")), Verdict::Proved);
        facts.assume(&Fact::Le(v("T"), Dim::int(512)));
        facts.assume(&Fact::Le(v("S"), v("T")));
        assert_eq!(facts.le(&v("S"), &Dim::int(600)), Verdict::Proved);
        assert_eq!(facts.le(&v("T"), &Dim::int(511)), Verdict::Unknown);
        assert_eq!(facts.upper_bound(&v("T")), Some(512));
    }

    #[test]
    fn sizes_that_data_chooses_may_be_zero() {
        let mut facts = Facts::default();
        facts.assume(&Fact::Le(Dim::int(0), v("pos")));
        facts.assume(&Fact::Le(v("pos") + v("T"), Dim::int(8)));
        assert_eq!(facts.le(&Dim::int(0), &v("pos")), Verdict::Proved);
        assert_eq!(facts.le(&Dim::int(1), &v("pos")), Verdict::Unknown);
        assert_eq!(facts.le(&v("T"), &Dim::int(8)), Verdict::Proved);
        assert_eq!(facts.le(&v("pos"), &Dim::int(7)), Verdict::Proved);
    }

    #[test]
    fn floors_are_near_what_they_divide() {
        let facts = Facts::default();
        let half = v("n").floor_div(&Dim::int(2));
        assert_eq!(facts.le(&half.times(2), &v("n")), Verdict::Proved);
        assert_eq!(facts.le(&v("n"), &(half.times(2) + Dim::int(1))), Verdict::Proved);
        assert_eq!(facts.le(&v("n"), &half.times(2)), Verdict::Unknown);
        assert_eq!(facts.le(&half, &v("n")), Verdict::Proved);
        // A window of 5 may find no place on an axis of n.
        assert_eq!(facts.le(&Dim::int(0), &(v("n") - Dim::int(5)).floor_div(&Dim::int(2))), Verdict::Unknown);
    }

    #[test]
    fn divisibility_is_a_substitution() {
        let mut facts = Facts::default();
        facts.assume(&Fact::Divides { divisor: Dim::int(8), of: v("H") });
        let half = v("H").floor_div(&Dim::int(2));
        assert_eq!(facts.eq(&(half * Dim::int(2)), &v("H")), Verdict::Proved);
        assert_eq!(facts.holds(&Fact::Divides { divisor: Dim::int(4), of: v("H") }), Verdict::Proved);
    }
}

//! Dims: polynomials with rational coefficients over named sizes, in a normal form where equal dims are equal values.

use num_rational::Ratio;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub type Rational = Ratio<i128>;

/// Where coefficients end. No size comes near it, but what a hostile text multiplies does: beyond, there is this number
/// only, which has no place in 64 bits, so that what is made of it is refused.
const HUGE: i128 = 1 << 120;

fn bounded(numerator: Option<i128>, denominator: Option<i128>, negative: bool) -> Rational {
    match (numerator, denominator) {
        (Some(n), Some(d)) if n.unsigned_abs() <= HUGE as u128 && d.unsigned_abs() <= HUGE as u128 => {
            Rational::new(n, d)
        }
        _ => Rational::from_integer(if negative { -HUGE } else { HUGE }),
    }
}

pub(crate) fn product(a: Rational, b: Rational) -> Rational {
    let negative = (*a.numer() < 0) != (*b.numer() < 0);
    bounded(a.numer().checked_mul(*b.numer()), a.denom().checked_mul(*b.denom()), negative)
}

pub(crate) fn sum(a: Rational, b: Rational) -> Rational {
    let parts = a.numer().checked_mul(*b.denom()).zip(b.numer().checked_mul(*a.denom()));
    let whole = parts.and_then(|(x, y)| x.checked_add(y));
    let larger = if b.numer().unsigned_abs() > a.numer().unsigned_abs() { b } else { a };
    bounded(whole, a.denom().checked_mul(*b.denom()), *larger.numer() < 0)
}

/// What a polynomial is made of: a named size, or an operation that polynomials do not have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    Var(Arc<str>),
    Floor(Box<Dim>, Box<Dim>),
    Rem(Box<Dim>, Box<Dim>),
    Min(Box<Dim>, Box<Dim>),
    Max(Box<Dim>, Box<Dim>),
}

/// Powers of atoms, sorted.
type Monomial = Vec<(Atom, u32)>;

/// A size of a tensor's axis, or a number computed from sizes. Coefficients are rational; a dim of a tensor is integral.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim {
    terms: BTreeMap<Monomial, Rational>,
}

impl Dim {
    pub fn int(n: i64) -> Dim {
        Dim::rational(Rational::from_integer(n.into()))
    }

    pub fn rational(r: Rational) -> Dim {
        let mut dim = Dim::default();
        dim.add_term(vec![], r);
        dim
    }

    pub fn var(name: &str) -> Dim {
        Dim::atom(Atom::Var(name.into()))
    }

    pub fn atom(atom: Atom) -> Dim {
        let mut dim = Dim::default();
        dim.add_term(vec![(atom, 1)], Rational::from_integer(1));
        dim
    }

    fn add_term(&mut self, monomial: Monomial, factor: Rational) {
        let zero = Rational::from_integer(0);
        let sum = sum(self.terms.get(&monomial).copied().unwrap_or(zero), factor);
        if sum == zero {
            self.terms.remove(&monomial);
        } else {
            self.terms.insert(monomial, sum);
        }
    }

    pub fn terms(&self) -> impl Iterator<Item = (&Monomial, Rational)> {
        self.terms.iter().map(|(m, c)| (m, *c))
    }

    pub fn as_rational(&self) -> Option<Rational> {
        match self.terms.len() {
            0 => Some(Rational::from_integer(0)),
            1 => self.terms.get(&vec![]).copied(),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        self.as_rational().filter(|r| r.is_integer()).and_then(|r| r.to_integer().try_into().ok())
    }

    /// The name, if this is one named size and nothing else.
    pub fn as_var(&self) -> Option<&str> {
        match self.as_atom() {
            Some(Atom::Var(name)) => Some(name),
            _ => None,
        }
    }

    fn as_atom(&self) -> Option<&Atom> {
        let (monomial, factor) = self.terms.iter().next()?;
        match (&monomial[..], self.terms.len()) {
            ([(atom, 1)], 1) if *factor == Rational::from_integer(1) => Some(atom),
            _ => None,
        }
    }

    /// How many factors the longest of its terms has.
    pub fn degree(&self) -> u32 {
        self.terms.keys().map(|m| m.iter().map(|(_, power)| power).sum()).max().unwrap_or(0)
    }

    pub fn is_integral(&self) -> bool {
        self.terms.values().all(|c| c.is_integer())
    }

    pub fn times(&self, factor: i64) -> Dim {
        self.scaled(Rational::from_integer(factor.into()))
    }

    pub fn scaled(&self, factor: Rational) -> Dim {
        let mut dim = Dim::default();
        self.terms.iter().for_each(|(m, c)| dim.add_term(m.clone(), product(*c, factor)));
        dim
    }

    fn negated(&self) -> Dim {
        self.times(-1)
    }

    /// The exact quotient: by a constant, or where one monomial divides every term.
    pub fn div(&self, by: &Dim) -> Option<Dim> {
        let (divisor, factor) = match by.terms.len() {
            0 => return None,
            1 => by.terms.iter().next()?,
            _ if self == by => return Some(Dim::int(1)),
            _ => return None,
        };
        let mut out = Dim::default();
        for (monomial, c) in &self.terms {
            out.add_term(divide(monomial, divisor)?, product(*c, factor.recip()));
        }
        Some(out)
    }

    /// `floor(self / by)`: multiples of a constant divisor move out of the floor.
    pub fn floor_div(&self, by: &Dim) -> Dim {
        if let Some(exact) = self.div(by).filter(Dim::is_integral) {
            return exact;
        }
        if by.as_int().is_some_and(|c| c < 0) {
            return self.negated().floor_div(&by.negated());
        }
        let Some(c) = by.as_int().filter(|c| *c > 0) else {
            return Dim::atom(Atom::Floor(self.clone().into(), by.clone().into()));
        };
        let (whole, rest) = self.split_multiples(c);
        match rest.as_int() {
            Some(r) => whole + Dim::int(r.div_euclid(c)),
            None => whole + Dim::atom(Atom::Floor(rest.into(), by.clone().into())),
        }
    }

    /// `self - by * floor(self / by)`
    pub fn rem(&self, by: &Dim) -> Dim {
        if self.div(by).is_some_and(|q| q.is_integral()) {
            return Dim::int(0);
        }
        if by.as_int().is_some_and(|c| c < 0) {
            return self.negated().rem(&by.negated()).negated();
        }
        let Some(c) = by.as_int().filter(|c| *c > 0) else {
            return Dim::atom(Atom::Rem(self.clone().into(), by.clone().into()));
        };
        let (_, rest) = self.split_multiples(c);
        match rest.as_int() {
            Some(r) => Dim::int(r.rem_euclid(c)),
            None => Dim::atom(Atom::Rem(rest.into(), by.clone().into())),
        }
    }

    /// `self = c * whole + rest`, with the constant of the rest in 0..c.
    fn split_multiples(&self, c: i64) -> (Dim, Dim) {
        let (mut whole, mut rest) = (Dim::default(), Dim::default());
        for (monomial, factor) in &self.terms {
            let quotient = product(*factor, Rational::new(1, c.into()));
            let multiple = match monomial.is_empty() || quotient.is_integer() {
                true => quotient.floor(),
                false => Rational::from_integer(0),
            };
            whole.add_term(monomial.clone(), multiple);
            rest.add_term(monomial.clone(), sum(*factor, product(multiple, Rational::from_integer(-i128::from(c)))));
        }
        (whole, rest)
    }

    pub fn minimum(&self, other: &Dim) -> Dim {
        match (self.clone() - other.clone()).as_int() {
            Some(d) if d <= 0 => self.clone(),
            Some(_) => other.clone(),
            None => Dim::atom(Atom::Min(self.min_by_text(other).into(), self.max_by_text(other).into())),
        }
    }

    pub fn maximum(&self, other: &Dim) -> Dim {
        match (self.clone() - other.clone()).as_int() {
            Some(d) if d >= 0 => self.clone(),
            Some(_) => other.clone(),
            None => Dim::atom(Atom::Max(self.min_by_text(other).into(), self.max_by_text(other).into())),
        }
    }

    fn min_by_text(&self, other: &Dim) -> Dim {
        Ord::min(self, other).clone()
    }

    /// Those that the size is the largest of: itself, unless it is a maximum.
    pub fn alternatives(&self) -> Vec<&Dim> {
        match self.as_atom() {
            Some(Atom::Max(a, b)) => a.alternatives().into_iter().chain(b.alternatives()).collect(),
            _ => vec![self],
        }
    }

    fn max_by_text(&self, other: &Dim) -> Dim {
        Ord::max(self, other).clone()
    }

    /// Named sizes that occur, sorted, each once.
    pub fn vars(&self) -> Vec<Arc<str>> {
        let mut vars = vec![];
        self.collect_vars(&mut vars);
        vars.sort();
        vars.dedup();
        vars
    }

    fn collect_vars(&self, vars: &mut Vec<Arc<str>>) {
        for (atom, _) in self.terms.keys().flatten() {
            match atom {
                Atom::Var(name) => vars.push(name.clone()),
                Atom::Floor(a, b) | Atom::Rem(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
                    a.collect_vars(vars);
                    b.collect_vars(vars);
                }
            }
        }
    }

    /// With every size for which `value` has an answer replaced by it.
    pub fn substitute(&self, value: &impl Fn(&str) -> Option<Dim>) -> Dim {
        let mut out = Dim::default();
        for (monomial, factor) in &self.terms {
            let mut product = Dim::rational(*factor);
            for (atom, power) in monomial {
                let base = match atom {
                    Atom::Var(name) => value(name).unwrap_or_else(|| Dim::atom(atom.clone())),
                    Atom::Floor(a, b) => a.substitute(value).floor_div(&b.substitute(value)),
                    Atom::Rem(a, b) => a.substitute(value).rem(&b.substitute(value)),
                    Atom::Min(a, b) => a.substitute(value).minimum(&b.substitute(value)),
                    Atom::Max(a, b) => a.substitute(value).maximum(&b.substitute(value)),
                };
                for _ in 0..*power {
                    product = product * base.clone();
                }
            }
            out = out + product;
        }
        out
    }

    /// The number, given all sizes; `None` if one is missing or the result is no integer.
    pub fn eval(&self, value: &impl Fn(&str) -> Option<i64>) -> Option<i64> {
        self.substitute(&|name| value(name).map(Dim::int)).as_int()
    }
}

fn divide(monomial: &Monomial, divisor: &Monomial) -> Option<Monomial> {
    let mut out = monomial.clone();
    for (atom, power) in divisor {
        let at = out.iter().position(|(a, p)| a == atom && p >= power)?;
        out[at].1 -= power;
    }
    out.retain(|(_, p)| *p > 0);
    Some(out)
}

impl std::ops::Add for Dim {
    type Output = Dim;

    fn add(mut self, other: Dim) -> Dim {
        other.terms.into_iter().for_each(|(m, c)| self.add_term(m, c));
        self
    }
}

impl std::ops::Sub for Dim {
    type Output = Dim;

    fn sub(mut self, other: Dim) -> Dim {
        other.terms.into_iter().for_each(|(m, c)| self.add_term(m, -c));
        self
    }
}

impl std::ops::Mul for Dim {
    type Output = Dim;

    fn mul(self, other: Dim) -> Dim {
        let mut out = Dim::default();
        for (m, c) in &self.terms {
            for (n, d) in &other.terms {
                let mut monomial = m.clone();
                for (atom, power) in n {
                    match monomial.iter_mut().find(|(a, _)| a == atom) {
                        Some((_, p)) => *p += power,
                        None => monomial.push((atom.clone(), *power)),
                    }
                }
                monomial.sort();
                out.add_term(monomial, product(*c, *d));
            }
        }
        out
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim::int(n)
    }
}

impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::int(1), |a, b| a * b)
    }
}

impl std::str::FromStr for Dim {
    type Err = crate::TextError;

    fn from_str(text: &str) -> Result<Dim, crate::TextError> {
        crate::text::dim_of(text)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Atom::Var(name) => f.write_str(name),
            Atom::Floor(a, b) => write!(f, "floor({a}, {b})"),
            Atom::Rem(a, b) => write!(f, "rem({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // Larger monomials first, the constant last.
        for (i, (monomial, factor)) in self.terms.iter().rev().enumerate() {
            let negative = *factor < Rational::from_integer(0);
            f.write_str(match (i, negative) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            })?;
            let size = if negative { -*factor } else { *factor };
            if monomial.is_empty() {
                write!(f, "{size}")?;
                continue;
            }
            if size != Rational::from_integer(1) {
                write!(f, "{size}*")?;
            }
            for (j, (atom, power)) in monomial.iter().enumerate() {
                for k in 0..*power {
                    write!(f, "{}{atom}", if j + k as usize > 0 { "*" } else { "" })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        let (h, d) = (Dim::var("H"), Dim::var("D"));
        let twice = h.clone() + h.clone();
        assert_eq!(twice.to_string(), "2*H");
        assert_eq!((h.clone() * d.clone()).div(&h), Some(d.clone()));
        assert_eq!(d.div(&h), None);
        // A strided convolution of an even size.
        let out = (twice.clone() + Dim::int(6 - 7)).floor_div(&Dim::int(2)) + Dim::int(1);
        assert_eq!(out, h);
        assert_eq!((h.clone() * Dim::int(4) + Dim::int(3)).rem(&Dim::int(2)), Dim::int(1));
        assert_eq!(Dim::int(7).div(&Dim::int(2)).unwrap().to_string(), "7/2");
    }

    #[test]
    fn what_no_size_comes_near_is_no_size() {
        let large = (0..5).fold(Dim::int(1), |d, _| d * Dim::int(i64::MAX));
        assert_eq!(large.as_int(), None);
        assert_eq!((large.clone() + large.clone()).as_int(), None);
        assert_eq!((Dim::int(0) - large.clone()).floor_div(&Dim::int(3)).as_int(), None);
        assert_eq!((Dim::var("B") * large.clone()).div(&large), Some(Dim::var("B")));
    }

    #[test]
    fn evaluation_agrees_with_the_normal_form() {
        let size = |name: &str| Some(if name == "H" { 37 } else { 5 });
        let (h, w) = (Dim::var("H"), Dim::var("W"));
        let dim = (h.clone() * Dim::int(3) + w.clone()).floor_div(&Dim::int(4)) * w.clone() - h.rem(&Dim::int(8))
            + h.minimum(&w);
        assert_eq!(dim.eval(&size), Some((37 * 3 + 5) / 4 * 5 - 37 % 8 + 5));
    }
}

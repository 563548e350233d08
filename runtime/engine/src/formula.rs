//! Whole numbers that depend on the sizes of one call: dims, buffer lengths, trip counts, guards.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;

/// An expression over the symbols of an entry (its dims that the caller chooses), evaluated once per new sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Formula {
    Const(i64),
    /// Index into the entry's symbols.
    Symbol(usize),
    Add(#[serde(deserialize_with = "nested")] Vec<Formula>),
    Mul(#[serde(deserialize_with = "nested")] Vec<Formula>),
    /// `floor(a / b)`, `b` positive.
    Floor(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
    /// `a - b * floor(a / b)`, `b` positive.
    Rem(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
    Min(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
    Max(#[serde(deserialize_with = "nested")] Box<Formula>, #[serde(deserialize_with = "nested")] Box<Formula>),
}

impl Formula {
    /// The value, or `None` on overflow and division by zero.
    pub fn evaluate(&self, symbols: &[i64]) -> Option<i64> {
        let pair = |a: &Formula, b: &Formula| Some((a.evaluate(symbols)?, b.evaluate(symbols)?));
        match self {
            Formula::Const(n) => Some(*n),
            Formula::Symbol(s) => symbols.get(*s).copied(),
            Formula::Add(parts) => parts.iter().try_fold(0i64, |sum, p| sum.checked_add(p.evaluate(symbols)?)),
            Formula::Mul(parts) => parts.iter().try_fold(1i64, |product, p| product.checked_mul(p.evaluate(symbols)?)),
            Formula::Floor(a, b) => pair(a, b).and_then(|(a, b)| a.checked_div_euclid(b)),
            Formula::Rem(a, b) => pair(a, b).and_then(|(a, b)| a.checked_rem_euclid(b)),
            Formula::Min(a, b) => pair(a, b).map(|(a, b)| a.min(b)),
            Formula::Max(a, b) => pair(a, b).map(|(a, b)| a.max(b)),
        }
    }
}

/// The least and the largest that something may be.
pub type Range = (i64, i64);

impl Formula {
    /// Between what the value is where each symbol has a range; wider than need be where a symbol occurs twice. `None` on
    /// overflow and where a divisor may be 0.
    pub fn range(&self, symbols: &[Range]) -> Option<Range> {
        let pair = |a: &Formula, b: &Formula| Some((a.range(symbols)?, b.range(symbols)?));
        match self {
            Formula::Const(n) => Some((*n, *n)),
            Formula::Symbol(s) => symbols.get(*s).copied(),
            Formula::Add(parts) => parts.iter().try_fold((0i64, 0i64), |(least, most), part| {
                let (low, high) = part.range(symbols)?;
                Some((least.checked_add(low)?, most.checked_add(high)?))
            }),
            Formula::Mul(parts) => {
                parts.iter().try_fold((1, 1), |product, part| corners(product, part.range(symbols)?, i64::checked_mul))
            }
            Formula::Floor(a, b) => pair(a, b).and_then(|(a, b)| match b.0 > 0 {
                true => corners(a, b, i64::checked_div_euclid),
                false => None,
            }),
            Formula::Rem(a, b) => match pair(a, b)? {
                (a, b) if a.0 == a.1 && b.0 == b.1 => a.0.checked_rem_euclid(b.0).map(|n| (n, n)),
                (_, b) => (b.0 > 0).then(|| (0, b.1 - 1)),
            },
            Formula::Min(a, b) => pair(a, b).map(|(a, b)| (a.0.min(b.0), a.1.min(b.1))),
            Formula::Max(a, b) => pair(a, b).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))),
        }
    }
}

/// The range of something that is largest and least where both its operands are.
fn corners(a: Range, b: Range, of: impl Fn(i64, i64) -> Option<i64>) -> Option<Range> {
    let all = [of(a.0, b.0)?, of(a.0, b.1)?, of(a.1, b.0)?, of(a.1, b.1)?];
    Some((*all.iter().min()?, *all.iter().max()?))
}

/// Formulas inside each other, at most, in a file: reading and evaluating them calls itself.
const DEPTH: usize = 200;

/// Operands of a formula from a file.
fn nested<'d, D: Deserializer<'d>, T: Deserialize<'d>>(from: D) -> Result<T, D::Error> {
    thread_local!(static DEEP: Cell<usize> = const { Cell::new(0) });
    if DEEP.get() == DEPTH {
        return Err(D::Error::custom("a formula is nested too deep"));
    }
    DEEP.set(DEEP.get() + 1);
    let operands = T::deserialize(from);
    DEEP.set(DEEP.get() - 1);
    operands
}

#[cfg(test)]
mod tests {
    use super::Formula::{self, *};

    #[test]
    fn ranges_hold_every_value() {
        let (a, b) = (|| Box::new(Symbol(0)), || Box::new(Symbol(1)));
        let formulas = [
            Add(vec![Mul(vec![Const(-3), Symbol(0)]), Symbol(1), Const(4)]),
            Mul(vec![Symbol(0), Symbol(0), Symbol(1)]),
            Floor(a(), b()),
            Floor(Box::new(Mul(vec![Const(-1), Symbol(1)])), Box::new(Const(4))),
            Rem(a(), b()),
            Rem(a(), Box::new(Const(5))),
            Min(a(), b()),
            Max(Box::new(Add(vec![Symbol(0), Const(2)])), b()),
        ];
        for formula in &formulas {
            for ranges in [[(-3, 4), (1, 6)], [(2, 2), (5, 5)]] {
                let (least, most) = formula.range(&ranges).unwrap();
                for (x, y) in (ranges[0].0..=ranges[0].1).flat_map(|x| (ranges[1].0..=ranges[1].1).map(move |y| (x, y)))
                {
                    let value = formula.evaluate(&[x, y]).unwrap();
                    assert!((least..=most).contains(&value), "{formula:?} at {x}, {y}: {value} of {least}..={most}");
                }
            }
        }
        let by_nothing: Formula = Floor(Box::new(Const(1)), a());
        assert_eq!(by_nothing.range(&[(0, 1)]), None);
    }
}

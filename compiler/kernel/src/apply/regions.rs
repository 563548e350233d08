//! Loops as regions, and the sizes derived for those known only when running.

use super::{Apply, Env, ceil_div};
use crate::affine::{Affine, Extent, SizeId};
use crate::schedule::{Mark, Policy, ScheduleError, error};
use crate::scheduled::{SizeInfo, SizeValue};

/// Some consecutive iterations of a loop that share their constants.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub base: Affine,
    pub count: Extent,
    pub factor: i64,
    /// Extent of the inner half, if the variable is an outer half.
    pub inner: Option<Extent>,
    pub ordinal: i64,
    pub first: bool,
    pub last: bool,
}

impl Region {
    fn new(base: Affine, count: Extent, factor: i64, inner: Option<Extent>) -> Region {
        Region { base, count, factor, inner, ordinal: 0, first: false, last: false }
    }
}

impl Apply<'_> {
    /// The regions of a loop over `var`, in order; `peel` iterations at both ends stand alone.
    pub(super) fn regions(
        &mut self,
        var: usize,
        peel: (i64, i64),
        mark: Mark,
        env: &Env,
    ) -> Result<Vec<Region>, ScheduleError> {
        let mut regions = match self.vars[var].outer_of {
            None => vec![Region::new(Affine::default(), env.vars[var].extent, 1, None)],
            Some((parent, split)) => {
                let extent = env.vars[parent].extent;
                let split = &self.vars[parent].splits[split];
                let (policy, factor) = (split.policy.clone(), split.factor);
                self.tiles(&policy, factor, extent)?
            }
        };
        regions.retain(|r| r.count != Extent::Const(0));
        if mark == Mark::Parallel {
            return self.task_regions(var, regions);
        }
        if peel != (0, 0) {
            regions = peel_ends(regions, peel);
        }
        let mut ordinal = 0;
        for region in &mut regions {
            region.ordinal = ordinal;
            ordinal += region.count.as_const().unwrap_or(0);
        }
        let single = |r: &Region| r.count == Extent::Const(1);
        if let Some(region) = regions.first_mut() {
            region.first = single(region);
        }
        if let Some(region) = regions.last_mut() {
            region.last = single(region);
        }
        Ok(regions)
    }

    fn tiles(&mut self, policy: &Policy, factor: i64, extent: Extent) -> Result<Vec<Region>, ScheduleError> {
        let full = Some(Extent::Const(factor));
        match (policy, extent) {
            (Policy::Even, Extent::Const(n)) => {
                let tiles = ceil_div(n, factor);
                let large = ceil_div(n, tiles.max(1));
                let large_tiles = n - (large - 1) * tiles;
                let region = |base, count, size| {
                    Region::new(Affine::constant(base), Extent::Const(count), size, Some(Extent::Const(size)))
                };
                Ok(vec![region(0, large_tiles, large), region(large_tiles * large, tiles - large_tiles, large - 1)])
            }
            (Policy::Even, Extent::Size(s)) => {
                let name = &self.out.sizes[s.index()].name;
                error(format!("an even split needs a constant extent; `{name}` is known only when running"))
            }
            (Policy::Shift, extent) if self.at_least(extent, factor) => {
                let whole = Affine::from(extent);
                let count = self.floor(whole.clone(), factor);
                let rest = self.remainder(&whole, &count, factor);
                let last = self.at_most_one(rest);
                Ok(vec![
                    Region::new(Affine::default(), self.extent(count), factor, full),
                    Region::new(whole.offset(-factor), self.extent(last), factor, full),
                ])
            }
            (Policy::Ragged | Policy::Shift, extent) => self.chain(factor, &[], true, extent),
            (Policy::Chain { smaller, mask }, extent) => self.chain(factor, smaller, *mask, extent),
        }
    }

    fn chain(
        &mut self,
        factor: i64,
        smaller: &[i64],
        mask: bool,
        extent: Extent,
    ) -> Result<Vec<Region>, ScheduleError> {
        let whole = Affine::from(extent);
        let (mut base, mut rest, mut bound) = (Affine::default(), whole, None::<i64>);
        let mut regions = vec![];
        let mut last = factor;
        for size in std::iter::once(factor).chain(smaller.iter().copied()) {
            if bound.is_some() && size >= last {
                return error("tiles of a chain get smaller");
            }
            let count = self.floor(rest.clone(), size);
            regions.push(Region::new(base.clone(), self.extent(count.clone()), size, Some(Extent::Const(size))));
            base = base.plus(&count, size);
            rest = self.remainder(&rest, &count, size);
            (bound, last) = (Some(size - 1), size);
        }
        if rest.as_constant() == Some(0) || (!mask && last == 1) {
            return Ok(regions);
        }
        if !mask {
            return error(format!("a chain that ends with {last} leaves a rest: end with 1 or mask"));
        }
        let count = self.at_most_one(rest.clone());
        // Inside the region there is a rest, so its extent counts as at least one.
        let inner = self.maximum(rest, Affine::constant(1));
        let inner = self.extent(inner);
        regions.push(Region::new(base, self.extent(count), last, Some(inner)));
        Ok(regions)
    }

    /// A parallel loop runs from `TaskBegin` to `TaskEnd`, counted over all its regions.
    ///
    /// Inside other loops that open as several regions it opens several times, always with the same tasks.
    fn task_regions(&mut self, var: usize, regions: Vec<Region>) -> Result<Vec<Region>, ScheduleError> {
        if self.parallel.is_some_and(|known| known != var) {
            return error("a kernel has one parallel loop at most");
        }
        let mut before = Affine::default();
        let mut clipped = vec![];
        let (begin, end) = (self.derive(SizeValue::TaskBegin, 0, None), self.derive(SizeValue::TaskEnd, 0, None));
        for region in regions {
            let count = Affine::from(region.count);
            let mut clip = |at: &Affine| {
                let low = self.maximum(at.clone() - before.clone(), Affine::default());
                self.minimum(low, count.clone())
            };
            let (low, high) = (clip(&begin), clip(&end));
            let base = region.base.plus(&low, region.factor);
            let max = self.upper(region.count);
            let many = self.derive(SizeValue::Linear(high - low), 0, max);
            clipped.push(Region { base, count: self.extent(many), ..region });
            before = before + count;
        }
        if self.parallel == Some(var) && self.out.tasks != before {
            return error(format!("`{}` has other tasks each time it opens", self.vars[var].name));
        }
        self.parallel = Some(var);
        self.out.tasks = before;
        Ok(clipped)
    }

    fn at_least(&self, extent: Extent, n: i64) -> bool {
        match extent {
            Extent::Const(m) => m >= n,
            Extent::Size(s) => self.out.sizes[s.index()].min >= n,
        }
    }

    pub(super) fn upper(&self, extent: Extent) -> Option<i64> {
        match extent {
            Extent::Const(n) => Some(n),
            Extent::Size(s) => self.out.sizes[s.index()].max,
        }
    }

    /// The id of a size with this value: bounds are the caller's knowledge.
    pub(super) fn derive(&mut self, value: SizeValue, min: i64, max: Option<i64>) -> Affine {
        if let SizeValue::Linear(a) = &value
            && let Some(simple) = self.plain(a)
        {
            return simple;
        }
        let name = format!("s{}", self.out.sizes.len());
        let sizes = &mut self.out.sizes;
        let id = *self.derived.entry(value).or_insert_with_key(|value| {
            sizes.push(SizeInfo { name, value: value.clone(), min, max });
            SizeId(sizes.len() as u32 - 1)
        });
        Affine::size(id)
    }

    /// Constants and single sizes need no new one.
    fn plain(&self, a: &Affine) -> Option<Affine> {
        let single = matches!(a.terms(), [t] if t.factor == 1 && t.var.is_none()) && a.constant == 0;
        (single || a.as_constant().is_some()).then(|| a.clone())
    }

    /// An affine over sizes as an extent, through a derived size where it is not one already.
    pub(super) fn extent(&mut self, a: Affine) -> Extent {
        if let Some(n) = a.as_constant() {
            return Extent::Const(n);
        }
        let (low, high) = self.interval(&a, None);
        let derived = self.derive(SizeValue::Linear(a), low.unwrap_or(0).max(0), high);
        match derived.terms() {
            [term] => Extent::Size(term.size.expect("extents hold sizes only")),
            _ => Extent::Const(derived.constant),
        }
    }

    pub(super) fn floor(&mut self, a: Affine, by: i64) -> Affine {
        if by == 1 {
            return a;
        }
        let bound = |n: i64| n.div_euclid(by);
        let (low, high) = self.interval(&a, None);
        if let (Some(low), Some(high)) = (low, high)
            && bound(low) == bound(high)
        {
            return Affine::constant(bound(low));
        }
        self.derive(SizeValue::Floor(a, by), low.map_or(0, bound), high.map(bound))
    }

    /// `a - count * by`, where `count` is the floor of the quotient.
    fn remainder(&mut self, a: &Affine, count: &Affine, by: i64) -> Affine {
        let rest = a.clone().plus(count, -by);
        if by == 1 {
            return Affine::default();
        }
        self.derive(SizeValue::Linear(rest), 0, Some(by - 1))
    }

    fn at_most_one(&mut self, a: Affine) -> Affine {
        self.minimum(a, Affine::constant(1))
    }

    fn minimum(&mut self, a: Affine, b: Affine) -> Affine {
        let (la, ha) = self.interval(&a, None);
        let (lb, hb) = self.interval(&b, None);
        if ha.zip(lb).is_some_and(|(a, b)| a <= b) {
            return a;
        }
        if hb.zip(la).is_some_and(|(b, a)| b <= a) {
            return b;
        }
        let max = match (ha, hb) {
            (Some(x), Some(y)) => Some(x.min(y)),
            (x, y) => x.or(y),
        };
        self.derive(SizeValue::Min(a, b), la.unwrap_or(0).min(lb.unwrap_or(0)), max)
    }

    fn maximum(&mut self, a: Affine, b: Affine) -> Affine {
        let (la, ha) = self.interval(&a, None);
        let (lb, hb) = self.interval(&b, None);
        if ha.zip(lb).is_some_and(|(a, b)| a <= b) {
            return b;
        }
        if hb.zip(la).is_some_and(|(b, a)| b <= a) {
            return a;
        }
        let min = [la, lb].into_iter().flatten().max().unwrap_or(0);
        self.derive(SizeValue::Max(a, b), min, ha.zip(hb).map(|(x, y)| x.max(y)))
    }
}

fn peel_ends(regions: Vec<Region>, (low, high): (i64, i64)) -> Vec<Region> {
    let last = regions.len().saturating_sub(1);
    let mut peeled = vec![];
    for (i, region) in regions.into_iter().enumerate() {
        let Some(count) = region.count.as_const() else {
            peeled.push(region);
            continue;
        };
        let low = if i == 0 { low.min(count) } else { 0 };
        let high = if i == last { high.min(count - low) } else { 0 };
        let singles = |from: i64, to: i64| (from..to).map(|i| (i, 1));
        let parts = singles(0, low).chain([(low, count - low - high)]).chain(singles(count - high, count));
        peeled.extend(parts.filter(|(_, n)| *n > 0).map(|(start, n)| {
            let base = region.base.clone().offset(start * region.factor);
            Region { base, count: Extent::Const(n), ..region.clone() }
        }));
    }
    peeled
}

//! From subscripts to flat addresses: the value of an axis at a place in the nest, layouts, intervals.

use super::{Apply, Bind, Env, ceil_div, placeholder, placeholder_of};
use crate::affine::{Affine, BufferId, Extent, SizeId, Term};
use crate::nest::Role;
use crate::schedule::{Mark, Part, ScheduleError, error};
use crate::scheduled::{Place, SizeValue, Storage};

/// A stride: a constant, or a constant times a run-time size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    factor: i64,
    size: Option<SizeId>,
}

#[derive(Clone, Debug)]
pub(super) struct PhysicalLayout {
    dims: Vec<(usize, Part, Stride)>,
    local: Vec<usize>,
    register: bool,
}

impl Apply<'_> {
    /// Gives every buffer its storage and strides.
    pub(super) fn lay_out(&mut self) -> Result<(), ScheduleError> {
        let known = |name: &String| self.kernel.buffer_named(name).is_some();
        let named = self.schedule.layouts.iter().map(|l| &l.buffer);
        let named = named.chain(&self.schedule.registers).chain(&self.schedule.streams);
        let named = named.chain(self.schedule.prefetches.iter().map(|(buffer, _)| buffer));
        if let Some(name) = named.into_iter().find(|name| !known(name)) {
            return error(format!("no buffer `{name}`"));
        }
        for index in 0..self.kernel.buffers.len() {
            self.lay_out_buffer(index)?;
        }
        Ok(())
    }

    fn lay_out_buffer(&mut self, index: usize) -> Result<(), ScheduleError> {
        let buffer = &self.kernel.buffers[index];
        let chosen = self.schedule.layouts.iter().find(|l| l.buffer == buffer.name);
        let register = self.schedule.registers.contains(&buffer.name);
        let local = chosen.map_or(&[][..], |l| &l.local);
        let local = local.iter().map(|name| self.var_named(name)).collect::<Result<Vec<_>, _>>()?;
        if (register || !local.is_empty()) && buffer.role != Role::Temp {
            return error(format!("`{}` is not a temporary of the kernel", buffer.name));
        }
        let parts = match chosen {
            Some(layout) => layout.dims.iter().map(|d| (d.dim, d.part, d.pad)).collect(),
            None => (0..buffer.dims.len()).map(|d| (d, Part::Whole, 0)).collect::<Vec<_>>(),
        };
        let mut stride = Stride { factor: 1, size: None };
        let mut dims = vec![];
        for (dim, part, pad) in parts.into_iter().rev() {
            let Some(extent) = buffer.dims.get(dim).copied() else {
                return error(format!("`{}` has no dim {dim}", buffer.name));
            };
            dims.push((dim, part, stride));
            let extent = if buffer.role == Role::Temp { self.local_extent(index, dim, &local) } else { extent };
            let physical = self.physical_extent(extent, part, pad);
            stride = match physical {
                Extent::Const(n) => match stride.factor.checked_mul(n) {
                    Some(factor) => Stride { factor, ..stride },
                    None => return error(format!("`{}` has more elements than can be counted", buffer.name)),
                },
                Extent::Size(s) => Stride { size: Some(self.product(stride.size, s)), ..stride },
            };
        }
        dims.reverse();
        if buffer.role == Role::Temp && !register && stride.size.is_some() {
            return error(format!("`{}` has no bound on its size: give its sizes a maximum", buffer.name));
        }
        let place = match (register, buffer.role) {
            (true, _) => Place::Register,
            (_, Role::Temp) => Place::Scratch { offset: 0 },
            _ => Place::Argument,
        };
        let len = stride.size.is_none().then_some(stride.factor);
        let (name, elem) = (buffer.name.clone(), buffer.elem);
        let prefetch = self.schedule.prefetches.iter().find(|(b, _)| *b == name).map_or(0, |(_, distance)| *distance);
        self.out.storage.push(Storage { name, elem, place, len, written: false, prefetch });
        self.layouts.push(PhysicalLayout { dims, local, register });
        Ok(())
    }

    /// Extent of a temporary's dim, without the variables it is private to; run-time sizes count with their maximum.
    fn local_extent(&self, buffer: usize, dim: usize, local: &[usize]) -> Extent {
        let whole = self.kernel.buffers[buffer].dims[dim];
        let bounded = |extent| self.upper(extent).map_or(extent, Extent::Const);
        let stage = self.kernel.stages.iter().find(|s| s.target.index() == buffer);
        let Some(axis) = stage.and_then(|s| s.at[dim].as_var()) else { return bounded(whole) };
        bounded(self.part_extent(axis.index(), whole, local))
    }

    fn part_extent(&self, var: usize, extent: Extent, local: &[usize]) -> Extent {
        if local.contains(&var) {
            return Extent::Const(1);
        }
        let split = self.vars[var].splits.iter().find(|s| local.contains(&s.outer));
        split.map_or(extent, |s| self.part_extent(s.inner, Extent::Const(s.factor), local))
    }

    fn physical_extent(&mut self, extent: Extent, part: Part, pad: i64) -> Extent {
        let logical = Affine::from(extent);
        let whole = match part {
            Part::Whole => logical,
            Part::Div(n) => self.floor(logical.offset(n - 1), n),
            Part::Mod(n) => Affine::constant(n),
        };
        self.extent(whole.offset(pad))
    }

    fn product(&mut self, a: Option<SizeId>, b: SizeId) -> SizeId {
        let Some(a) = a else { return b };
        let (a, b) = (a.min(b), a.max(b));
        let info = |s: SizeId| &self.out.sizes[s.index()];
        let min = info(a).min * info(b).min;
        let max = info(a).max.zip(info(b).max).and_then(|(x, y)| x.checked_mul(y));
        let product = self.derive(SizeValue::Product(a, b), min, max);
        product.terms()[0].size.expect("a derived size is one size")
    }

    fn scaled(&mut self, a: &Affine, stride: Stride) -> Affine {
        let Some(size) = stride.size else { return a.times(stride.factor) };
        let mut out = Affine::default();
        out.add_term(Term { var: None, size: Some(size), factor: a.constant * stride.factor });
        for term in a.terms() {
            let size = self.product(term.size, size);
            out.add_term(Term { var: term.var, size: Some(size), factor: term.factor * stride.factor });
        }
        out
    }

    /// What the innermost variable itself contributes.
    pub(super) fn step(&self, var: usize, env: &Env) -> Affine {
        match env.vars[var].bind {
            Bind::Const(c) => Affine::constant(c),
            Bind::Loop(id) => Affine::var(id),
            Bind::Unbound => Affine::var(placeholder(var)),
        }
    }

    /// The value of a schedule variable at this place.
    pub(super) fn value(&self, var: usize, env: &Env) -> Affine {
        let split = env.active[var].map(|n| &self.vars[var].splits[n]);
        match split {
            Some(s) if self.opened(s.outer, env) || self.opened(s.inner, env) => {
                let outer = &env.vars[s.outer];
                self.value(s.inner, env).plus(&self.step(s.outer, env), outer.factor) + outer.base.clone()
            }
            _ => self.step(var, env) + env.vars[var].base.clone(),
        }
    }

    fn opened(&self, var: usize, env: &Env) -> bool {
        env.vars[var].bind != Bind::Unbound
            || env.active[var].is_some_and(|n| {
                let split = &self.vars[var].splits[n];
                self.opened(split.outer, env) || self.opened(split.inner, env)
            })
    }

    /// An affine over axes, at this place.
    pub(super) fn at(&mut self, a: &Affine, env: &Env) -> Affine {
        let mut out = Affine::constant(a.constant);
        for term in a.terms() {
            match term.var {
                None => out.add_term(*term),
                Some(axis) => {
                    let value = self.value(axis.index(), env);
                    out = out + self.scaled(&value, Stride { factor: term.factor, size: term.size });
                }
            }
        }
        out
    }

    /// Element offset of `buffer[at]` in its layout. Dims with `None` are left out.
    pub(super) fn flat(
        &mut self,
        buffer: BufferId,
        at: &[Option<&Affine>],
        env: &Env,
    ) -> Result<Affine, ScheduleError> {
        let layout = self.layouts[buffer.index()].clone();
        if layout.register {
            return self.register_address(buffer, at, env);
        }
        let mut env = env.clone();
        for var in &layout.local {
            env.vars[*var].bind = Bind::Const(0);
            env.vars[*var].base = Affine::default();
        }
        let mut out = Affine::default();
        for (dim, part, stride) in layout.dims {
            let Some(index) = at[dim] else { continue };
            let index = self.at(index, &env);
            let index = match part {
                Part::Whole => index,
                Part::Div(n) => self.div_mod(buffer, &index, n, &env)?.0,
                Part::Mod(n) => self.div_mod(buffer, &index, n, &env)?.1,
            };
            out = out + self.scaled(&index, stride);
        }
        Ok(out)
    }

    /// The stride of one dim that a subscript from data multiplies.
    pub(super) fn data_stride(&mut self, buffer: BufferId, dim: usize) -> Result<Affine, ScheduleError> {
        let found = self.layouts[buffer.index()].dims.iter().find(|d| d.0 == dim).copied();
        match found {
            Some((_, Part::Whole, stride)) => Ok(self.scaled(&Affine::constant(1), stride)),
            _ => error(format!("`{}` is read by index along a blocked dim", self.kernel.buffers[buffer.index()].name)),
        }
    }

    fn div_mod(&self, buffer: BufferId, a: &Affine, by: i64, env: &Env) -> Result<(Affine, Affine), ScheduleError> {
        let mut quotient = Affine::constant(a.constant.div_euclid(by));
        let mut rest = Affine::constant(a.constant.rem_euclid(by));
        for term in a.terms() {
            let (whole, part) = (term.factor.div_euclid(by), term.factor.rem_euclid(by));
            match part {
                0 => quotient.add_term(Term { factor: whole, ..*term }),
                _ => rest.add_term(*term),
            }
        }
        match self.interval(&rest, Some(env)) {
            (Some(low), Some(high)) if low >= 0 && high < by => Ok((quotient, rest)),
            (low, high) => {
                let name = &self.kernel.buffers[buffer.index()].name;
                error(format!(
                    "blocks of {by} in the layout of `{name}` do not divide its tiles: {low:?}..={high:?} in a block"
                ))
            }
        }
    }

    /// Registers are addressed by unrolled variables only: what serial loops contribute is dropped.
    fn register_address(
        &mut self,
        buffer: BufferId,
        at: &[Option<&Affine>],
        env: &Env,
    ) -> Result<Affine, ScheduleError> {
        let mut inside = env.clone();
        for state in &mut inside.vars {
            match state.mark {
                Some(Mark::Serial | Mark::Parallel | Mark::Block(_)) => {
                    state.bind = Bind::Const(0);
                    state.base = Affine::default();
                }
                // A thread may have a part in several regions of its loop, each with registers of its own.
                Some(Mark::Thread(_)) => state.bind = Bind::Const(0),
                _ => {}
            }
        }
        let indices: Vec<Affine> = at.iter().flatten().map(|a| self.at(a, &inside)).collect();
        let extents = match self.registers.get(&buffer) {
            Some(extents) => extents.clone(),
            None => {
                let bound = |a: &Affine| self.interval(a, Some(&inside)).1.map(|high| high + 1);
                let Some(extents) = indices.iter().map(bound).collect::<Option<Vec<i64>>>() else {
                    let name = &self.kernel.buffers[buffer.index()].name;
                    return error(format!("`{name}` cannot stay in registers: its index is known only when running"));
                };
                self.out.storage[buffer.index()].len = Some(extents.iter().product::<i64>().max(1));
                self.registers.insert(buffer, extents.clone());
                extents
            }
        };
        let mut out = Affine::default();
        for (index, extent) in indices.iter().zip(&extents) {
            out = out.times(*extent) + index.clone();
        }
        Ok(out)
    }

    /// Bounds of an affine over all values of its variables and sizes; `None` where there is none.
    pub(super) fn interval(&self, a: &Affine, env: Option<&Env>) -> (Option<i64>, Option<i64>) {
        let (mut low, mut high) = (Some(a.constant), Some(a.constant));
        for term in a.terms() {
            let (mut from, mut to) = (1, Some(1));
            if let Some(size) = term.size {
                let info = &self.out.sizes[size.index()];
                (from, to) = (info.min, info.max);
            }
            if let Some(var) = term.var {
                let extent = match placeholder_of(var) {
                    Some(var) => env.map_or(Extent::Const(1), |env| self.trips(var, env)),
                    None => self.out.loops[var.index()].extent,
                };
                from = 0;
                to = to.zip(self.upper(extent)).map(|(size, n)| size * (n - 1).max(0));
            }
            let ends = (Some(from * term.factor), to.map(|to| to * term.factor));
            let (least, most) = if term.factor >= 0 { ends } else { (ends.1, ends.0) };
            low = low.zip(least).map(|(a, b)| a + b);
            high = high.zip(most).map(|(a, b)| a + b);
        }
        (low, high)
    }

    /// How often a loop over `var` runs, all regions together.
    pub(super) fn trips(&self, var: usize, env: &Env) -> Extent {
        let Some((parent, split)) = self.vars[var].outer_of else { return env.vars[var].extent };
        let factor = self.vars[parent].splits[split].factor;
        match env.vars[parent].extent {
            Extent::Const(n) => Extent::Const(ceil_div(n, factor)),
            Extent::Size(s) => {
                self.out.sizes[s.index()].max.map_or(Extent::Size(s), |n| Extent::Const(ceil_div(n, factor)))
            }
        }
    }
}

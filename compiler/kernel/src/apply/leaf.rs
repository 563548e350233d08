//! Stages computed together: their own loops, register tiles for reductions, the epilogue on each point.

use super::regions::Region;
use super::{Apply, Bind, Env, loop_kind};
use crate::affine::{Affine, BufferId, ExprId, Extent, VarId};
use crate::expr::{Combine, Expr, Subscript};
use crate::schedule::{Mark, ScheduleError, error};
use crate::scheduled::Stmt;

impl TileDim {
    /// The reduction runs over the lanes of a vector or the threads of a block, which are combined at the end.
    fn across(&self) -> bool {
        self.reduced && matches!(self.mark, Mark::Lanes | Mark::Thread(_))
    }
}

type Loops = [(usize, Mark)];
type Outcome = Result<(), ScheduleError>;

/// The reduction of a stage: `op` over `axes` of `body`.
pub(super) struct Reduction {
    pub op: Combine,
    pub axes: Vec<VarId>,
    pub body: ExprId,
}

/// The register tile of one reducing stage: an accumulator for each point of its unrolled loops.
struct Tile {
    stage: usize,
    reduction: Reduction,
    register: BufferId,
    /// Variables that index the tile, outermost first, with strides in elements.
    dims: Vec<TileDim>,
    /// Blocks of the reduction lie outside: whether this is the first of them, and the last.
    block: Option<(bool, bool)>,
}

struct TileDim {
    var: usize,
    mark: Mark,
    extent: i64,
    stride: i64,
    reduced: bool,
}

impl Apply<'_> {
    pub(super) fn reduction(&self, stage: usize) -> Option<Reduction> {
        let mut found = None;
        let exprs = &self.kernel.exprs;
        exprs.walk(self.kernel.stages[stage].value, &mut |_, expr| {
            if let Expr::Reduce { op, axes, body } = expr {
                found = Some(Reduction { op: *op, axes: axes.clone(), body: *body });
            }
        });
        found
    }

    pub(super) fn leaf(&mut self, stages: &[usize], loops: &Loops, env: &Env) -> Outcome {
        let reductions: Vec<(usize, Reduction)> =
            stages.iter().filter_map(|s| Some((*s, self.reduction(*s)?))).collect();
        let reduced = |apply: &Self, var: usize| {
            let axis = apply.vars[var].axis;
            reductions.iter().any(|(_, r)| r.axes.contains(&axis))
        };
        let tiled = |mark: Mark| mark.unrolled() || mark == Mark::Lanes;
        if let Some(((var, mark), rest)) = loops.split_first()
            && loops.iter().any(|(v, m)| !tiled(*m) && !reduced(self, *v))
        {
            if reduced(self, *var) {
                let name = &self.vars[*var].name;
                return error(format!("a loop inside the reduction over `{name}` is neither reduced nor unrolled"));
            }
            for region in self.leaf_regions(*var, *mark, env)? {
                self.open(*var, *mark, &region, env, &mut |apply, env| apply.leaf(stages, rest, env))?;
            }
            return Ok(());
        }
        if reductions.is_empty() {
            return self
                .points(loops, env, &mut |apply, env| stages.iter().try_for_each(|s| apply.set(*s, None, false, env)));
        }
        let mut tiles = vec![];
        for (stage, reduction) in reductions {
            tiles.push(self.tile(stage, reduction, loops, env)?);
        }
        for tile in &tiles {
            let own: Vec<_> = tile.dims.iter().filter(|d| !d.across()).map(|d| (d.var, d.mark)).collect();
            self.points(&own, env, &mut |apply, env| apply.start(tile, env))?;
        }
        self.accumulate(stages, &tiles, loops, env)?;
        tiles.iter().try_for_each(|tile| {
            let own: Vec<_> = tile.dims.iter().filter(|d| !d.reduced).map(|d| (d.var, d.mark)).collect();
            self.points(&own, env, &mut |apply, env| apply.complete(tile, env))
        })
    }

    fn leaf_regions(&mut self, var: usize, mark: Mark, env: &Env) -> Result<Vec<Region>, ScheduleError> {
        let border = self.vars[var].border;
        self.regions(var, border, mark, env)
    }

    /// Opens all of `loops` around what `body` adds.
    fn points(&mut self, loops: &Loops, env: &Env, body: &mut dyn FnMut(&mut Self, &Env) -> Outcome) -> Outcome {
        let Some(((var, mark), rest)) = loops.split_first() else { return body(self, env) };
        for region in self.leaf_regions(*var, *mark, env)? {
            self.open(*var, *mark, &region, env, &mut |apply, env| apply.points(rest, env, body))?;
        }
        Ok(())
    }

    fn tile(&mut self, stage: usize, reduction: Reduction, loops: &Loops, env: &Env) -> Result<Tile, ScheduleError> {
        let mut dims = vec![];
        for (var, mark) in loops {
            let reduced = reduction.axes.contains(&self.vars[*var].axis);
            if *mark == Mark::Serial || (reduced && matches!(mark, Mark::Unroll | Mark::Fresh)) {
                continue;
            }
            let extent = match mark {
                Mark::Lanes => self.out.lanes,
                _ => match self.trips(*var, env) {
                    Extent::Const(n) => n,
                    Extent::Size(_) => return error(format!("`{}` is unrolled without a bound", self.vars[*var].name)),
                },
            };
            dims.push(TileDim { var: *var, mark: *mark, extent, stride: 0, reduced });
        }
        // Lanes are contiguous, so that one address is one vector. Threads come last: each has a part of its own.
        let rank = |mark: Mark| match mark {
            Mark::Lanes => 0,
            Mark::Thread(_) => 2,
            _ => 1,
        };
        let mut stride = 1;
        for level in 0..3 {
            for dim in dims.iter_mut().rev().filter(|d| rank(d.mark) == level) {
                dim.stride = stride;
                let Some(more) = stride.checked_mul(dim.extent) else {
                    return error("a tile has more elements than can be counted");
                };
                stride = more;
            }
        }
        let target = &self.kernel.buffers[self.kernel.stages[stage].target.index()];
        let name = format!("{}.acc", target.name);
        let elem = self.kernel.exprs.elem(reduction.body);
        let register = self.new_register(name, elem, stride);
        let block = self.block(&reduction, loops, env);
        Ok(Tile { stage, reduction, register, dims, block })
    }

    /// Reduction variables bound outside this leaf.
    fn block(&self, reduction: &Reduction, loops: &Loops, env: &Env) -> Option<(bool, bool)> {
        let outside = (0..self.vars.len()).filter(|v| {
            env.vars[*v].bind != Bind::Unbound
                && !loops.iter().any(|l| l.0 == *v)
                && reduction.axes.contains(&self.vars[*v].axis)
        });
        let states: Vec<_> = outside.map(|v| &env.vars[v]).collect();
        (!states.is_empty()).then(|| (states.iter().all(|s| s.first), states.iter().all(|s| s.last)))
    }

    fn tile_address(&self, tile: &Tile, env: &Env, skip: impl Fn(&TileDim) -> bool) -> Affine {
        let mut address = Affine::default();
        for dim in tile.dims.iter().filter(|d| !skip(d)) {
            let mut position = self.step(dim.var, env);
            // Each region of a loop over threads starts with the first of them again.
            if !matches!(dim.mark, Mark::Thread(_)) {
                position = position.offset(env.vars[dim.var].ordinal);
            }
            address = address.plus(&position, dim.stride);
        }
        address
    }

    fn start(&mut self, tile: &Tile, env: &Env) -> Outcome {
        let mut at = self.tile_address(tile, env, TileDim::across);
        let value = match tile.block {
            Some((false, _)) => {
                let before = self.read_target(tile.stage, env)?;
                self.out.exprs.cast(self.kernel.exprs.elem(tile.reduction.body), before)
            }
            _ => {
                let elem = self.kernel.exprs.elem(tile.reduction.body);
                self.out.exprs.literal(tile.reduction.op.identity(elem))
            }
        };
        // Every lane gets a value, those that no element reaches too.
        let across = self.across(tile, &mut at);
        let set = Stmt::Set { target: tile.register, at, combine: None, value, stream: false };
        let open = |body: Stmt, var: &VarId| Stmt::Loop { var: *var, body: vec![body] };
        self.stmts.push(across.iter().fold(set, open));
        Ok(())
    }

    /// A loop for each dim whose parts are combined at the end; `at` addresses the part.
    fn across(&mut self, tile: &Tile, at: &mut Affine) -> Vec<VarId> {
        let mut vars = vec![];
        for dim in tile.dims.iter().filter(|d| d.across()) {
            let name = if dim.mark == Mark::Lanes { "lane" } else { "thread" };
            let var = self.new_loop(name.into(), Extent::Const(dim.extent), loop_kind(dim.mark));
            *at = at.clone().plus(&Affine::var(var), dim.stride);
            vars.push(var);
        }
        vars
    }

    fn read_target(&mut self, stage: usize, env: &Env) -> Result<ExprId, ScheduleError> {
        let stage = &self.kernel.stages[stage];
        let at: Vec<Option<&Affine>> = stage.at.iter().map(Some).collect();
        let flat = self.flat(stage.target, &at, env)?;
        let elem = self.kernel.buffers[stage.target.index()].elem;
        let load = Expr::Load { buffer: stage.target, at: vec![Subscript::Affine(flat)], guard: None };
        Ok(self.out.exprs.intern(load, elem))
    }

    fn accumulate(&mut self, stages: &[usize], tiles: &[Tile], loops: &Loops, env: &Env) -> Outcome {
        let Some(((var, mark), rest)) = loops.split_first() else {
            for stage in stages {
                match tiles.iter().find(|t| t.stage == *stage) {
                    None => self.set(*stage, None, false, env)?,
                    Some(tile) => self.update(tile, env)?,
                }
            }
            return Ok(());
        };
        for region in self.leaf_regions(*var, *mark, env)? {
            let Some(region) = self.trimmed(region, *var, *mark, stages, tiles, env) else { continue };
            self.open(*var, *mark, &region, env, &mut |apply, env| apply.accumulate(stages, tiles, rest, env))?;
        }
        Ok(())
    }

    /// A serial region without the iterations at its ends that add nothing, as at the borders of a padded image.
    fn trimmed(
        &mut self,
        mut region: Region,
        var: usize,
        mark: Mark,
        stages: &[usize],
        tiles: &[Tile],
        env: &Env,
    ) -> Option<Region> {
        let Some(count) = region.count.as_const().filter(|_| mark == Mark::Serial && stages.len() == tiles.len())
        else {
            return Some(region);
        };
        let mut idle = |at: i64| {
            let env = self.enter(var, mark, &region, Bind::Const(at), env);
            tiles.iter().all(|t| {
                let elem = self.kernel.exprs.elem(t.reduction.body);
                let identity = t.reduction.op.identity(elem).value();
                self.known(t.reduction.body, &env) == Some(identity)
            })
        };
        let (mut from, mut to) = (0, count);
        while from < to && idle(from) {
            from += 1;
        }
        while to > from && idle(to - 1) {
            to -= 1;
        }
        region.base = region.base.offset(from * region.factor);
        region.count = Extent::Const(to - from);
        (to > from).then_some(region)
    }

    fn update(&mut self, tile: &Tile, env: &Env) -> Outcome {
        let value = self.translate(tile.reduction.body, None, env)?;
        let at = self.tile_address(tile, env, |_| false);
        let combine = Some(tile.reduction.op);
        self.stmts.push(Stmt::Set { target: tile.register, at, combine, value, stream: false });
        Ok(())
    }

    /// Combines the accumulators of one point, then lanes and threads, and stores what the stage makes of it.
    fn complete(&mut self, tile: &Tile, env: &Env) -> Outcome {
        let mut address = self.tile_address(tile, env, |d| d.reduced);
        let across = self.across(tile, &mut address);
        let mut offsets = vec![0];
        for dim in tile.dims.iter().filter(|d| d.reduced && !d.across()) {
            let steps = |from: &i64| (0..dim.extent).map(move |i| from + i * dim.stride).collect::<Vec<_>>();
            offsets = offsets.iter().flat_map(steps).collect();
        }
        let elem = self.kernel.exprs.elem(tile.reduction.body);
        let mut parts: Vec<ExprId> = (offsets.iter())
            .map(|offset| {
                let at = vec![Subscript::Affine(address.clone().offset(*offset))];
                self.out.exprs.intern(Expr::Load { buffer: tile.register, at, guard: None }, elem)
            })
            .collect();
        while parts.len() > 1 {
            let op = tile.reduction.op.binary();
            let pair = |exprs: &mut crate::expr::Exprs, p: &[ExprId]| match p {
                [a, b] => exprs.binary(op, *a, *b),
                _ => p[0],
            };
            parts = parts.chunks(2).map(|p| pair(&mut self.out.exprs, p)).collect();
        }
        let total = self.out.exprs.reduce(tile.reduction.op, &across, parts[0]);
        let partial = matches!(tile.block, Some((_, false)));
        self.set(tile.stage, Some(total), partial, env)
    }

    /// Stores a stage's value; `raw` stores the reduction itself, to go on with in a later block.
    fn set(&mut self, stage: usize, reduced: Option<ExprId>, raw: bool, env: &Env) -> Outcome {
        let value = match (raw, reduced) {
            (true, Some(total)) => {
                let target = self.kernel.stages[stage].target;
                self.out.exprs.cast(self.kernel.buffers[target.index()].elem, total)
            }
            _ => self.translate(self.kernel.stages[stage].value, reduced, env)?,
        };
        let stage = &self.kernel.stages[stage];
        let at: Vec<Option<&Affine>> = stage.at.iter().map(Some).collect();
        let at = self.flat(stage.target, &at, env)?;
        let stream = self.schedule.streams.contains(&self.kernel.buffers[stage.target.index()].name);
        self.stmts.push(Stmt::Set { target: stage.target, at, combine: None, value, stream });
        Ok(())
    }
}

//! Merges axes that always stand side by side: `x[b, t, d]` read and stored only so is `x[bt, d]`. Fewer loops, and a
//! batch of short rows becomes one long range to tile.

use crate::build::Built;
use graph::{Dim, Facts};
use kernel::affine::Term;
use kernel::{Affine, Expr, ExprId, Exprs, Extent, Guard, Kernel, SizeId, Subscript, VarId};
use std::collections::BTreeMap;

/// Drops dims of size 1, merges what can be merged, then drops axes and sizes that nothing uses.
pub fn merge_axes(built: &mut Built, facts: &Facts) {
    squeeze(&mut built.kernel);
    let mut again = true;
    while again {
        again = false;
        let count = built.kernel.axes.len() as u32;
        let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (VarId(a), VarId(b)))).filter(|(a, b)| a != b);
        for (a, b) in pairs {
            if let Some(places) = side_by_side(&built.kernel, a, b) {
                merge(built, a, b, &places, facts);
                again = true;
            }
        }
    }
    compact(built);
}

/// Drops dims of size 1 that are always read and stored at 0.
fn squeeze(kernel: &mut Kernel) {
    let one = |b: &kernel::Buffer| (0..b.dims.len()).filter(|d| b.dims[*d] == Extent::Const(1)).collect();
    let mut removed: Vec<Vec<usize>> = kernel.buffers.iter().map(one).collect();
    let zero = |a: Option<&Affine>| a.is_some_and(|a| a.as_constant() == Some(0));
    for stage in &kernel.stages {
        removed[stage.target.index()].retain(|d| zero(stage.at.get(*d)));
        kernel.exprs.walk(stage.value, &mut |_, e| {
            if let Expr::Load { buffer, at, .. } = e {
                removed[buffer.index()].retain(|d| zero(at[*d].as_affine()));
            }
        });
    }
    remove_dims(kernel, &removed);
}

/// Removes dims, in ascending order for each buffer, and the subscripts there.
fn remove_dims(kernel: &mut Kernel, removed: &[Vec<usize>]) {
    for (buffer, dims) in kernel.buffers.iter_mut().zip(removed) {
        remove_all(&mut buffer.dims, dims);
    }
    let mut exprs = std::mem::take(&mut kernel.exprs);
    for stage in &mut kernel.stages {
        remove_all(&mut stage.at, &removed[stage.target.index()]);
        stage.value = exprs.rewrite(stage.value, &mut |exprs, mut expr, elem| {
            if let Expr::Load { buffer, at, .. } = &mut expr {
                remove_all(at, &removed[buffer.index()]);
            }
            exprs.intern(expr, elem)
        });
    }
    kernel.exprs = exprs;
}

fn remove_all<T>(items: &mut Vec<T>, places: &[usize]) {
    places.iter().rev().for_each(|p| {
        items.remove(*p);
    });
}

/// For each buffer that is read or stored with the axes, the dim where `a` stands, `b` following, both over all of their
/// dims; `None` if they stand apart anywhere, or nowhere.
fn side_by_side(kernel: &Kernel, a: VarId, b: VarId) -> Option<BTreeMap<usize, usize>> {
    let mut places: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    let mut apart = false;
    let extents = (kernel.axes[a.index()].extent, kernel.axes[b.index()].extent);
    let mut visit = |buffer: usize, at: &[Option<&Affine>]| {
        let uses = |s: &Option<&Affine>, v| s.is_some_and(|x| x.uses(v));
        let is = |d: usize, v| at.get(d).is_some_and(|s| s.and_then(|x| x.as_var()) == Some(v));
        let dims = &kernel.buffers[buffer].dims;
        let whole = |d: usize| dims[d] == extents.0 && dims[d + 1] == extents.1;
        let here = (0..at.len()).find(|d| is(*d, a) && is(d + 1, b) && whole(*d));
        let elsewhere =
            (0..at.len()).any(|d| (uses(&at[d], a) || uses(&at[d], b)) && here.is_none_or(|h| d != h && d != h + 1));
        apart |= elsewhere || places.insert(buffer, here).is_some_and(|before| before != here);
    };
    for stage in &kernel.stages {
        visit(stage.target.index(), &stage.at.iter().map(Some).collect::<Vec<_>>());
        kernel.exprs.walk(stage.value, &mut |_, e| {
            if let Expr::Load { buffer, at, .. } = e {
                visit(buffer.index(), &at.iter().map(Subscript::as_affine).collect::<Vec<_>>());
            }
        });
    }
    for stage in &kernel.stages {
        kernel.exprs.walk(stage.value, &mut |_, e| match e {
            Expr::Index(i, _) => apart |= i.uses(a) || i.uses(b),
            Expr::Load { guard: Some(g), .. } => apart |= g.ranges.iter().any(|(r, _)| r.uses(a) || r.uses(b)),
            Expr::Reduce { axes, .. } => apart |= axes.contains(&a) != axes.contains(&b),
            _ => {}
        });
    }
    let places: BTreeMap<usize, usize> = places.into_iter().filter_map(|(b, d)| Some((b, d?))).collect();
    (!apart && !places.is_empty()).then_some(places)
}

fn merge(built: &mut Built, a: VarId, b: VarId, places: &BTreeMap<usize, usize>, facts: &Facts) {
    let kernel = &mut built.kernel;
    let (x, y) = (kernel.axes[a.index()].extent, kernel.axes[b.index()].extent);
    let whole = product(kernel, &mut built.sizes, x, y, facts);
    kernel.axes[a.index()].extent = whole;
    let mut removed = vec![vec![]; kernel.buffers.len()];
    for (buffer, dim) in places {
        kernel.buffers[*buffer].dims[*dim] = whole;
        removed[*buffer].push(dim + 1);
    }
    remove_dims(kernel, &removed);
    let mut exprs = std::mem::take(&mut kernel.exprs);
    for stage in &mut kernel.stages {
        stage.value = exprs.rewrite(stage.value, &mut |exprs, mut expr, elem| {
            if let Expr::Reduce { axes, .. } = &mut expr
                && axes.contains(&a)
            {
                axes.retain(|v| *v != b);
            }
            exprs.intern(expr, elem)
        });
    }
    kernel.exprs = exprs;
}

fn product(kernel: &mut Kernel, sizes: &mut Vec<Dim>, x: Extent, y: Extent, facts: &Facts) -> Extent {
    let dim = |e: Extent| match e {
        Extent::Const(n) => Dim::int(n),
        Extent::Size(s) => sizes[s.index()].clone(),
    };
    let whole = facts.normalize(&(dim(x) * dim(y)));
    if let Some(n) = whole.as_int() {
        return Extent::Const(n);
    }
    if let Some(at) = sizes.iter().position(|d| *d == whole) {
        return SizeId(at as u32).into();
    }
    let bounds = |e: Extent| match e {
        Extent::Const(n) => (n, Some(n)),
        Extent::Size(s) => (kernel.sizes[s.index()].min, kernel.sizes[s.index()].max),
    };
    let ((low_x, high_x), (low_y, high_y)) = (bounds(x), bounds(y));
    sizes.push(whole);
    let max = high_x.zip(high_y).and_then(|(a, b)| a.checked_mul(b));
    kernel.size(format!("n{}", sizes.len() - 1), low_x * low_y, max).into()
}

/// Numbers axes and sizes anew, without those that nothing uses.
fn compact(built: &mut Built) {
    let kernel = &built.kernel;
    let (mut vars, mut sizes) = (vec![false; kernel.axes.len()], vec![false; kernel.sizes.len()]);
    let mut extents: Vec<Extent> = kernel.buffers.iter().flat_map(|b| b.dims.clone()).collect();
    let mut affines: Vec<Affine> = vec![];
    for stage in &kernel.stages {
        affines.extend(stage.at.iter().cloned());
        kernel.exprs.walk(stage.value, &mut |_, e| match e {
            Expr::Index(a, _) => affines.push(a.clone()),
            Expr::Load { at, guard, .. } => {
                affines.extend(at.iter().filter_map(Subscript::as_affine).cloned());
                for (a, n) in guard.iter().flat_map(|g| &g.ranges) {
                    affines.push(a.clone());
                    extents.push(*n);
                }
            }
            Expr::Reduce { axes, .. } => affines.extend(axes.iter().map(|v| Affine::var(*v))),
            Expr::Checked(_, n) => extents.push(*n),
            _ => {}
        });
    }
    for term in affines.iter().flat_map(|a| a.terms()) {
        if let Some(v) = term.var {
            vars[v.index()] = true;
        }
        if let Some(s) = term.size {
            sizes[s.index()] = true;
        }
    }
    extents.extend(kernel.axes.iter().zip(&vars).filter(|(_, used)| **used).map(|(a, _)| a.extent));
    for extent in extents {
        if let Extent::Size(s) = extent {
            sizes[s.index()] = true;
        }
    }
    Renumber { vars: numbers(&vars), sizes: numbers(&sizes) }.apply(built, &vars, &sizes);
}

fn numbers(used: &[bool]) -> Vec<u32> {
    let mut next = 0;
    let number = |u: &bool| {
        next += *u as u32;
        next - *u as u32
    };
    used.iter().map(number).collect()
}

struct Renumber {
    vars: Vec<u32>,
    sizes: Vec<u32>,
}

impl Renumber {
    fn apply(&self, built: &mut Built, vars: &[bool], sizes: &[bool]) {
        let kernel = &mut built.kernel;
        let old = std::mem::take(&mut kernel.exprs);
        let mut new = Exprs::default();
        let mut done = BTreeMap::new();
        for stage in &mut kernel.stages {
            stage.value = self.expr(&old, &mut new, stage.value, &mut done);
            stage.at.iter_mut().for_each(|a| *a = self.affine(a));
        }
        kernel.exprs = new;
        for extent in kernel.axes.iter_mut().map(|a| &mut a.extent) {
            *extent = self.extent(*extent);
        }
        for extent in kernel.buffers.iter_mut().flat_map(|b| &mut b.dims) {
            *extent = self.extent(*extent);
        }
        let mut keep = vars.iter();
        kernel.axes.retain(|_| *keep.next().expect("one flag for each axis"));
        let mut keep = sizes.iter();
        kernel.sizes.retain(|_| *keep.next().expect("one flag for each size"));
        let mut keep = sizes.iter();
        built.sizes.retain(|_| *keep.next().expect("one flag for each size"));
        for (i, size) in kernel.sizes.iter_mut().enumerate() {
            size.name = format!("n{i}");
        }
    }

    fn extent(&self, extent: Extent) -> Extent {
        match extent {
            Extent::Const(n) => Extent::Const(n),
            Extent::Size(s) => SizeId(self.sizes[s.index()]).into(),
        }
    }

    fn affine(&self, a: &Affine) -> Affine {
        let mut out = Affine::constant(a.constant);
        for t in a.terms() {
            let var = t.var.map(|v| VarId(self.vars[v.index()]));
            let size = t.size.map(|s| SizeId(self.sizes[s.index()]));
            out.add_term(Term { var, size, factor: t.factor });
        }
        out
    }

    fn expr(&self, old: &Exprs, new: &mut Exprs, id: ExprId, done: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
        if let Some(known) = done.get(&id) {
            return *known;
        }
        let elem = old.elem(id);
        let expr = old[id].map(|operand| self.expr(old, new, operand, done));
        let expr = match expr {
            Expr::Index(a, elem) => Expr::Index(self.affine(&a), elem),
            Expr::Load { buffer, at, guard } => {
                let at = at.into_iter().map(|s| match s {
                    Subscript::Affine(a) => Subscript::Affine(self.affine(&a)),
                    data => data,
                });
                let guard = guard.map(|g| Guard {
                    ranges: g.ranges.iter().map(|(a, n)| (self.affine(a), self.extent(*n))).collect(),
                    otherwise: g.otherwise,
                });
                Expr::Load { buffer, at: at.collect(), guard }
            }
            Expr::Reduce { op, axes, body } => {
                Expr::Reduce { op, axes: axes.iter().map(|v| VarId(self.vars[v.index()])).collect(), body }
            }
            Expr::Checked(a, n) => Expr::Checked(a, self.extent(n)),
            other => other,
        };
        let id_new = new.intern(expr, elem);
        done.insert(id, id_new);
        id_new
    }
}

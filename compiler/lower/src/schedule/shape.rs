//! What choosers look at: for each stage its axes, and how its loads move along them.

use super::GUESS;
use kernel::{Binary, Combine, Expr, ExprId, Extent, Kernel, Role, Subscript, VarId};

pub struct Shape<'k> {
    pub kernel: &'k Kernel,
    pub stages: Vec<StageShape>,
}

pub struct StageShape {
    pub name: String,
    /// Index of the buffer that it stores to.
    pub target: usize,
    pub role: Role,
    pub rank: usize,
    /// Axes of the target, slowest first.
    pub free: Vec<VarId>,
    pub reduced: Vec<VarId>,
    /// The axis along which stores are contiguous.
    pub contiguous: Option<VarId>,
    pub loads: Vec<Access>,
    pub reduction: Option<Reduction>,
}

pub struct Reduction {
    /// Loads of the reduced expression.
    pub loads: Vec<Access>,
    /// Loads of its two sides, if the expression is a product.
    pub product: Option<(Vec<Access>, Vec<Access>)>,
}

#[derive(Clone)]
pub struct Access {
    pub buffer: usize,
    pub at: Vec<Subscript>,
    pub guarded: bool,
}

impl Access {
    pub fn uses(&self, var: VarId) -> bool {
        self.at.iter().any(|s| s.as_affine().is_some_and(|a| a.uses(var)))
    }

    /// Whether consecutive values of `var` are consecutive in memory.
    pub fn contiguous(&self, var: VarId) -> bool {
        self.step(var) == Some(1)
    }

    /// How far apart in memory consecutive values of `var` are, if only the last subscript moves with it.
    pub fn step(&self, var: VarId) -> Option<i64> {
        let uses = |s: &Subscript| s.as_affine().is_some_and(|a| a.uses(var));
        match self.at.split_last() {
            Some((Subscript::Affine(last), rest)) if !rest.iter().any(uses) => last.coefficient(var),
            _ => None,
        }
    }

    /// The variable of each dim, if every subscript moves with one at most, at any step, forwards or backwards.
    pub fn axes(&self) -> Option<Vec<Option<VarId>>> {
        let each = |s: &Subscript| match s.as_affine()?.terms() {
            [] => Some(None),
            [term] if term.size.is_none() => Some(term.var),
            _ => None,
        };
        self.at.iter().map(each).collect()
    }

    /// The dim of each variable, if every subscript is one variable or a constant.
    pub fn plain(&self) -> Option<Vec<Option<VarId>>> {
        let each = |s: &Subscript| match s {
            Subscript::Affine(a) if a.as_constant() == Some(0) => Some(None),
            Subscript::Affine(a) => a.as_var().map(Some),
            Subscript::Data(_) => None,
        };
        self.at.iter().map(each).collect()
    }
}

impl<'k> Shape<'k> {
    pub fn of(kernel: &'k Kernel) -> Shape<'k> {
        let stages = kernel.stages.iter().map(|stage| {
            let buffer = &kernel.buffers[stage.target.index()];
            let mut free: Vec<VarId> = vec![];
            for affine in &stage.at {
                let mut terms: Vec<_> = affine.terms().iter().filter_map(|t| Some((t.factor, t.var?))).collect();
                terms.sort_by_key(|(factor, _)| std::cmp::Reverse(*factor));
                free.extend(terms.into_iter().map(|(_, v)| v).filter(|v| !free.contains(v)).collect::<Vec<_>>());
            }
            let target = Access {
                buffer: stage.target.index(),
                at: stage.at.iter().cloned().map(Subscript::Affine).collect(),
                guarded: false,
            };
            let contiguous = free.iter().rev().copied().find(|v| target.contiguous(*v));
            let mut reduced = vec![];
            let mut reduction = None;
            kernel.exprs.walk(stage.value, &mut |_, e| {
                if let Expr::Reduce { op, axes, body } = e {
                    reduced = axes.clone();
                    let product = match kernel.exprs[*body] {
                        Expr::Binary(Binary::Mul, a, b) if *op == Combine::Sum => {
                            Some((accesses(kernel, a), accesses(kernel, b)))
                        }
                        _ => None,
                    };
                    reduction = Some(Reduction { loads: accesses(kernel, *body), product });
                }
            });
            StageShape {
                name: buffer.name.clone(),
                target: stage.target.index(),
                role: buffer.role,
                rank: buffer.dims.len(),
                free,
                reduced,
                contiguous,
                loads: accesses(kernel, stage.value),
                reduction,
            }
        });
        Shape { kernel, stages: stages.collect() }
    }

    pub fn name(&self, var: VarId) -> &str {
        &self.kernel.axes[var.index()].name
    }

    pub fn extent(&self, var: VarId) -> Extent {
        self.kernel.axes[var.index()].extent
    }

    pub fn buffer(&self, access: &Access) -> &kernel::Buffer {
        &self.kernel.buffers[access.buffer]
    }

    /// Whether consecutive values of `var` are consecutive in memory, dims of one element after it aside.
    pub fn runs_along(&self, access: &Access, var: VarId) -> bool {
        let dims = &self.buffer(access).dims;
        let long = dims.iter().rposition(|d| d.as_const() != Some(1)).map_or(0, |last| last + 1);
        Access { at: access.at[..long].to_vec(), ..access.clone() }.contiguous(var)
    }

    /// The buffer that a stage stores to.
    pub fn target(&self, stage: &StageShape) -> &kernel::Buffer {
        &self.kernel.buffers[stage.target]
    }

    /// Whether an axis has a constant extent or a maximum.
    pub fn bounded(&self, var: VarId) -> bool {
        match self.extent(var) {
            Extent::Const(_) => true,
            Extent::Size(s) => self.kernel.sizes[s.index()].max.is_some(),
        }
    }

    /// How many iterations an axis probably has.
    pub fn guess(&self, var: VarId) -> i64 {
        self.guess_extent(self.extent(var))
    }

    pub fn guess_extent(&self, extent: Extent) -> i64 {
        match extent {
            Extent::Const(n) => n,
            Extent::Size(s) => self.kernel.sizes[s.index()].max.map_or(GUESS, |n| n.min(GUESS)),
        }
    }
}

fn accesses(kernel: &Kernel, root: ExprId) -> Vec<Access> {
    let mut out = vec![];
    kernel.exprs.walk(root, &mut |_, e| {
        if let Expr::Load { buffer, at, guard } = e {
            out.push(Access { buffer: buffer.index(), at: at.clone(), guarded: guard.is_some() });
        }
    });
    out
}

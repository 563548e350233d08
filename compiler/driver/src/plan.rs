//! A lowered graph as an entry of the engine: dims become formulas over the sizes that the caller chooses.

use crate::constants::Constant;
use crate::error::Error;
use crate::target::Function;
use diag::SourceMap;
use engine::{
    Chosen, Condition, Entry, Formula, Guard, Launch, Loop, Motion, Move, PlanBuffer, Port, Size, Step, Symbol,
};
use graph::dim::Atom;
use graph::{Dim, Fact, Graph, Op, Origin, Storage};
use kernel::scheduled::SizeValue;
use kernel::{Affine, Scheduled};
use lower::{Lowered, LoweredKernel, Place, Routine};
use std::sync::Arc;

/// Operations of a routine on a GPU for which there is a block, and how many blocks there are at most: some for each
/// processor of the largest.
const BLOCK_WORK: i64 = 4096;
const MOST_BLOCKS: i64 = 1024;

pub struct Planner<'g> {
    graph: &'g Graph,
    /// Sizes that dims of inputs choose, then those that values choose.
    symbols: Vec<Arc<str>>,
}

impl Planner<'_> {
    /// The plan of one entry; `kept` names what sessions keep. Kernel `k` of `lowered` is `kernels[k]` of the program; constants that are new are
    /// added to `constants`.
    pub fn plan(
        name: &str,
        graph: &Graph,
        lowered: &Lowered<Function>,
        kernels: &[usize],
        kept: &[&str],
        constants: &mut Vec<Constant>,
        sources: &SourceMap,
    ) -> Result<Entry, Error> {
        let mut planner = Planner { graph, symbols: graph.symbols() };
        let mut symbols: Vec<Symbol> =
            planner.symbols.iter().map(|s| Symbol { name: s.to_string(), chosen: Chosen::ByDims }).collect();
        for value in graph.order() {
            let Op::Size(size) = graph.op(value) else { continue };
            let most = planner.formula(&size.most)?;
            let chosen = match graph.input_of_size(value) {
                Some(input) => Chosen::ByValue { input, most },
                None => Chosen::ByStep { most },
            };
            symbols.push(Symbol { name: size.name.clone(), chosen });
            planner.symbols.push(size.name.as_str().into());
        }
        let inputs = graph.operands.iter().filter(|o| o.storage == Storage::Input);
        let inputs = inputs.map(|o| planner.port(&o.name, o.value)).collect::<Result<Vec<_>, _>>()?;
        let outputs = graph.outputs.iter().map(|(n, v)| planner.port(n, *v)).collect::<Result<Vec<_>, _>>()?;
        let mut guards = vec![];
        for guard in &graph.guards {
            let place = sources.place(guard.origin.span);
            guards.push(Guard {
                condition: planner.condition(&guard.fact)?,
                text: format!("{place}: `{name}` needs {}", guard.text),
            });
        }
        let number = |operand: usize| {
            let name = &graph.operands[operand].name;
            let number = kept.iter().position(|k| k == name);
            number.ok_or_else(|| Error::Defect(format!("`{name}` changes but is not kept")))
        };
        let elsewhere = |i: &usize| lowered.buffers.iter().any(|b| b.place == Place::Next(*i));
        let updates = graph.updates.iter().map(|(i, _)| *i).filter(elsewhere).map(number).collect::<Result<_, _>>()?;
        let mut buffers = vec![];
        for buffer in &lowered.buffers {
            let place = match &buffer.place {
                Place::Input(i) => engine::Place::Input(*i),
                Place::Output(i) => engine::Place::Output(*i),
                Place::Kept(i) => engine::Place::Kept(number(*i)?),
                Place::Next(i) => engine::Place::Next(number(*i)?),
                Place::Arena { first, last } => engine::Place::Arena { first: *first, last: *last },
                Place::Part { of, start, motion } => engine::Place::Part {
                    of: *of,
                    start: planner.formula(start)?,
                    moved_by: motion.as_ref().map(|(step, _)| *step),
                },
                Place::Constant { content, layout } => {
                    let dims: Option<Vec<i64>> = buffer.dims.iter().map(Dim::as_int).collect();
                    let dims = dims.ok_or_else(|| Error::Defect("a constant has no fixed dims".into()))?;
                    let dims = dims.into_iter().map(|n| n as usize).collect();
                    let layout = layout.as_ref().map(|l| l.dims.clone());
                    let constant = Constant { content: content.clone(), elem: buffer.elem, dims, layout };
                    let known = constants.iter().position(|c| *c == constant);
                    engine::Place::Constant(known.unwrap_or_else(|| {
                        constants.push(constant);
                        constants.len() - 1
                    }))
                }
            };
            let bytes = buffer.dims.iter().cloned().product::<Dim>() * Dim::int(buffer.elem.size() as i64);
            buffers.push(PlanBuffer { place, bytes: planner.formula(&bytes)? });
        }
        let mut steps = vec![];
        for step in &lowered.steps {
            steps.push(match step {
                lower::Step::Launch(launch) => Step::Launch(planner.launch(launch, lowered, kernels, sources)?),
                lower::Step::Loop(around) => Step::Loop(planner.around(around)?),
                lower::Step::Size(size) => {
                    let symbol = planner.symbols.iter().position(|s| **s == *size.name);
                    let symbol = symbol.ok_or_else(|| planner.unknown(&size.name))?;
                    let elem = lowered.buffers[size.buffer].elem;
                    Step::Size(Size { symbol, buffer: size.buffer, elem, source: line(&size.origin, sources) })
                }
            });
        }
        Ok(Entry { name: name.into(), symbols, inputs, outputs, guards, buffers, steps, updates })
    }

    fn launch(
        &self,
        launch: &lower::Launch,
        lowered: &Lowered<Function>,
        kernels: &[usize],
        sources: &SourceMap,
    ) -> Result<Launch, Error> {
        let made = &lowered.kernels[launch.kernel];
        let sizes = launch.sizes.iter().map(|d| self.formula(d)).collect::<Result<Vec<_>, _>>()?;
        let (tasks, scratch) = match made {
            LoweredKernel::Loops(l) => match &l.code {
                Function::Cuda(source) => (source.grid.iter().map(|n| affine(&l.scheduled, n, &sizes)).collect(), 0),
                _ => (vec![affine(&l.scheduled, &l.scheduled.tasks, &sizes)], l.scheduled.scratch),
            },
            LoweredKernel::Routine(Routine { code: Function::Cuda(_), .. }) => {
                // Any number of blocks will do.
                let blocks = (launch.work.clone() + Dim::int(BLOCK_WORK - 1)).floor_div(&Dim::int(BLOCK_WORK));
                let most = Box::new(Formula::Const(MOST_BLOCKS));
                (vec![Formula::Min(Box::new(self.formula(&blocks)?), most), Formula::Const(1), Formula::Const(1)], 0)
            }
            LoweredKernel::Routine(_) | LoweredKernel::Extern(..) => (vec![sizes[0].clone()], 0),
        };
        Ok(Launch {
            name: made.name().into(),
            source: line(&launch.origin, sources),
            kernel: kernels[launch.kernel],
            buffers: launch.buffers.clone(),
            tasks,
            sizes,
            work: self.formula(&launch.work)?,
            bytes: self.formula(&launch.bytes)?,
            scratch,
        })
    }

    fn around(&self, around: &lower::Loop) -> Result<Loop, Error> {
        let motion = |motion: &lower::Motion| {
            Ok::<_, Error>(match motion {
                lower::Motion::Stride(bytes) => Motion::Stride(self.formula(bytes)?),
                lower::Motion::Turn(bytes) => Motion::Turn(self.formula(bytes)?),
            })
        };
        let moves = around.moves.iter().map(|m| Ok(Move { step: m.step, slot: m.slot, motion: motion(&m.motion)? }));
        let moves = moves.collect::<Result<_, Error>>()?;
        Ok(Loop { count: self.formula(&around.count)?, steps: around.steps, moves })
    }

    fn port(&self, name: &str, value: graph::Value) -> Result<Port, Error> {
        let ty = self.graph.ty(value);
        let dims = ty.dims.iter().map(|d| self.formula(d)).collect::<Result<_, _>>()?;
        Ok(Port { name: name.into(), elem: ty.elem, dims })
    }

    fn condition(&self, fact: &Fact) -> Result<Condition, Error> {
        Ok(match fact {
            Fact::Eq(a, b) => Condition::Equal(self.formula(a)?, self.formula(b)?),
            Fact::Le(a, b) => Condition::AtMost(self.formula(a)?, self.formula(b)?),
            Fact::Divides { divisor, of } => {
                let rest = Formula::Rem(Box::new(self.formula(of)?), Box::new(self.formula(divisor)?));
                Condition::Equal(rest, Formula::Const(0))
            }
        })
    }

    fn formula(&self, dim: &Dim) -> Result<Formula, Error> {
        let large = || Error::Unsupported {
            place: format!("`{}`", self.graph.name),
            message: format!("{dim} does not fit 64 bits; make sizes smaller"),
        };
        let divisor = dim.terms().map(|(_, c)| *c.denom()).try_fold(1, lcm).ok_or_else(large)?;
        let mut sum = vec![];
        for (monomial, factor) in dim.terms() {
            let mut product = vec![];
            let whole = factor.numer().checked_mul(divisor / *factor.denom());
            let whole = whole.and_then(|n| i64::try_from(n).ok()).ok_or_else(large)?;
            if whole != 1 || monomial.is_empty() {
                product.push(Formula::Const(whole));
            }
            for (atom, power) in monomial {
                let base = self.atom(atom)?;
                product.extend(std::iter::repeat_n(base, *power as usize));
            }
            sum.push(single(product, Formula::Mul));
        }
        let sum = match sum.len() {
            0 => Formula::Const(0),
            _ => single(sum, Formula::Add),
        };
        let divisor = i64::try_from(divisor).map_err(|_| large())?;
        Ok(if divisor == 1 { sum } else { Formula::Floor(Box::new(sum), Box::new(Formula::Const(divisor))) })
    }

    fn atom(&self, atom: &Atom) -> Result<Formula, Error> {
        let pair = |a: &Dim, b: &Dim| Ok::<_, Error>((Box::new(self.formula(a)?), Box::new(self.formula(b)?)));
        Ok(match atom {
            Atom::Var(name) => return self.size(name),
            Atom::Floor(a, b) => pair(a, b).map(|(a, b)| Formula::Floor(a, b))?,
            Atom::Rem(a, b) => pair(a, b).map(|(a, b)| Formula::Rem(a, b))?,
            Atom::Min(a, b) => pair(a, b).map(|(a, b)| Formula::Min(a, b))?,
            Atom::Max(a, b) => pair(a, b).map(|(a, b)| Formula::Max(a, b))?,
        })
    }

    /// A size that the caller chooses, or one that a fact introduced: `H = 8 H'` makes `H'` an eighth of `H`.
    fn size(&self, name: &str) -> Result<Formula, Error> {
        if let Some(i) = self.symbols.iter().position(|s| **s == *name) {
            return Ok(Formula::Symbol(i));
        }
        for (i, symbol) in self.symbols.iter().enumerate() {
            let normal = self.graph.facts.normalize(&Dim::var(symbol));
            let multiple = normal.div(&Dim::var(name)).and_then(|c| c.as_int());
            if let Some(c) = multiple.filter(|c| *c > 0) {
                return Ok(Formula::Floor(Box::new(Formula::Symbol(i)), Box::new(Formula::Const(c))));
            }
        }
        Err(self.unknown(name))
    }

    fn unknown(&self, size: &str) -> Error {
        Error::Defect(format!("the size `{size}` follows from no input of `{}`", self.graph.name))
    }
}

/// `model.nn:12`: where nodes come from, of the calls that led there the innermost outside of the standard library.
fn line(origin: &Origin, sources: &SourceMap) -> String {
    let mut span = origin.span;
    let mut calls = origin.calls.as_deref();
    while let Some(call) = calls.filter(|_| dsl::is_library(sources.name(span.file))) {
        span = call.span;
        calls = call.outer.as_deref();
    }
    format!("{}:{}", sources.name(span.file), sources.line_column(span).0)
}

fn single(mut parts: Vec<Formula>, many: impl Fn(Vec<Formula>) -> Formula) -> Formula {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}

fn lcm(a: i128, b: i128) -> Option<i128> {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).checked_mul(b)
}

/// An affine over a kernel's sizes, given those that are its arguments.
fn affine(kernel: &Scheduled, a: &Affine, arguments: &[Formula]) -> Formula {
    let mut sum = vec![];
    if a.constant != 0 || a.terms().is_empty() {
        sum.push(Formula::Const(a.constant));
    }
    for term in a.terms() {
        let mut product = vec![];
        if term.factor != 1 {
            product.push(Formula::Const(term.factor));
        }
        product.extend(term.size.map(|s| size(kernel, s.index(), arguments)));
        sum.push(single(product, Formula::Mul));
    }
    single(sum, Formula::Add)
}

fn size(kernel: &Scheduled, index: usize, arguments: &[Formula]) -> Formula {
    let go = |a: &Affine| Box::new(affine(kernel, a, arguments));
    match &kernel.sizes[index].value {
        SizeValue::Argument => {
            let before = kernel.sizes[..index].iter().filter(|s| s.value == SizeValue::Argument).count();
            arguments[before].clone()
        }
        // Tasks are counted before any of them runs.
        SizeValue::TaskBegin | SizeValue::TaskEnd => Formula::Const(0),
        SizeValue::Linear(a) => *go(a),
        SizeValue::Floor(a, by) => Formula::Floor(go(a), Box::new(Formula::Const(*by))),
        SizeValue::Product(a, b) => {
            Formula::Mul(vec![size(kernel, a.index(), arguments), size(kernel, b.index(), arguments)])
        }
        SizeValue::Min(a, b) => Formula::Min(go(a), go(b)),
        SizeValue::Max(a, b) => Formula::Max(go(a), go(b)),
    }
}

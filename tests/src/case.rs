//! Cases of operators, as text: operands with their types and values, one node as graphs print it, what is skipped and
//! why.
//!
//! ```text
//! // Rows of a length known only when running.
//! n = 5
//! %x: f32[n, 3] = random 1 -4 4
//! exp %x : f32[n, 3]
//! skip gradient: it is not differentiable
//! ```
//!
//! Cases stand apart by empty lines; a line goes on while a brace is open. Values are numbers, the last of them repeated; `count`, which is 0, 1, 2 …; or
//! `random SEED LOW HIGH`. Sizes are stated as `n = 5`, what else is known of them as `assume n <= 8`.

use crate::kernels::round;
use graph::ops;
use graph::{Array, Dim, Elem, Graph, Op, Origin, Storage, TensorType, Value};
use nnc::{Model, Target};
use std::sync::atomic::{AtomicUsize, Ordering};
use tensor::Tensor;

pub struct Case {
    /// Line of its first word, from 1.
    pub line: usize,
    pub sizes: Vec<(String, i64)>,
    /// Operands and the one node that is the case.
    pub graph: Graph,
    pub node: Value,
    pub operands: Vec<Array>,
    skips: Vec<(String, String)>,
}

impl Case {
    pub fn size(&self, name: &str) -> Option<i64> {
        self.sizes.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    pub fn op(&self) -> &Op {
        self.graph.op(self.node)
    }

    /// The reason for which a step is left out.
    pub fn skip(&self, step: &str) -> Option<&str> {
        self.skips.iter().find(|(s, _)| s == step).map(|(_, reason)| reason.as_str())
    }
}

/// Steps that a case may skip. What follows a skipped `nest` or `schedule` as a kernel of its own is left out too, and
/// everything that follows `eval`.
pub const STEPS: [&str; 5] = ["eval", "nest", "schedule", "compiled", "gradient"];

/// The cases of a file, or what is wrong with its text.
pub fn cases(text: &str) -> Result<Vec<Case>, String> {
    let mut cases = vec![];
    let mut block: Vec<(usize, String)> = vec![];
    let open = |line: &str| line.matches('{').count() > line.matches('}').count();
    for (i, line) in text.lines().chain([""]).enumerate() {
        let line = line.trim();
        match (line.is_empty(), line.starts_with("//")) {
            (true, _) if !block.is_empty() => cases.push(case(&std::mem::take(&mut block))?),
            (true, _) | (_, true) => {}
            _ => match block.last_mut() {
                Some((_, before)) if open(before) => *before += &format!(" {line}"),
                _ => block.push((i + 1, line.to_string())),
            },
        }
    }
    match cases.is_empty() {
        true => Err("there is no case".into()),
        false => Ok(cases),
    }
}

fn case(lines: &[(usize, String)]) -> Result<Case, String> {
    let (mut sizes, mut operands, mut facts, mut node, mut skips) = (vec![], vec![], vec![], None, vec![]);
    for (number, line) in lines {
        let wrong = |what: &str| Err(format!("{number}: {what}"));
        if let Some(operand) = line.strip_prefix('%') {
            let Some((operand, values)) = operand.split_once('=') else {
                return wrong("an operand is stated as `%name: type = values`");
            };
            operands.push((format!("%{operand}"), values.trim()));
        } else if let Some(skip) = line.strip_prefix("skip ") {
            match skip.split_once(": ") {
                Some((step, reason)) if STEPS.contains(&step) => skips.push((step.to_string(), reason.to_string())),
                _ => return wrong(&format!("a skip is stated as `skip step: reason`, the step one of {STEPS:?}")),
            }
        } else if let Some(fact) = line.strip_prefix("assume ") {
            facts.push(format!("assume {fact}\n"));
        } else if let Some((name, value)) = line.split_once(" = ").filter(|(name, _)| !name.contains([' ', '{'])) {
            match value.parse() {
                Ok(n) => sizes.push((name.to_string(), n)),
                Err(_) => return wrong(&format!("`{value}` is no size")),
            }
        } else if node.replace(line.as_str()).is_some() {
            return wrong("a case has one node");
        }
    }
    let line = lines[0].0;
    let Some(node) = node else { return Err(format!("{line}: a case has a node")) };
    let types: Vec<&str> = operands.iter().map(|(t, _)| t.trim()).collect();
    let text = format!("graph @case({}) {{\n{}%0 = {node}\nreturn y = %0\n}}", types.join(", "), facts.concat());
    let mut graph = Graph::parse(&text).map_err(|e| format!("{line}: {}", e.message))?;
    graph.outputs.clear();
    let node = Value { node: 0, result: 0 };
    let mut case = Case { line, sizes, node, graph, operands: vec![], skips };
    for (operand, (_, values)) in case.graph.operands.iter().zip(operands) {
        let ty = case.graph.ty(operand.value);
        let shape: Option<Vec<usize>> = ty.dims.iter().map(|d| d.eval(&|n| case.size(n))?.try_into().ok()).collect();
        let Some(shape) = shape else { return Err(format!("{line}: not every size of {ty} is stated")) };
        let array = fill(ty.elem, shape, values).map_err(|e| format!("{line}: `{}`: {e}", operand.name))?;
        case.operands.push(array);
    }
    Ok(case)
}

fn fill(elem: Elem, shape: Vec<usize>, values: &str) -> Result<Array, String> {
    let count: usize = shape.iter().product();
    let words: Vec<&str> = values.split_whitespace().collect();
    let number = |word: &str| word.parse::<f64>().map_err(|_| format!("`{word}` is no number"));
    let data: Vec<f64> = match words[..] {
        ["count"] => (0..count).map(|i| i as f64).collect(),
        ["random", seed, low, high] => {
            let (low, high) = (number(low)?, number(high)?);
            let mut random = Random::new(number(seed)? as u64);
            // Integers include both ends.
            let span = if elem.is_float() { high - low } else { high - low + 1.0 };
            let next =
                || if elem.is_float() { low + span * random.unit() } else { (low + span * random.unit()).floor() };
            std::iter::repeat_with(next).take(count).collect()
        }
        [] => return Err("expected numbers, `count` or `random SEED LOW HIGH`".into()),
        _ => {
            let numbers: Vec<f64> = words.iter().map(|w| number(w)).collect::<Result<_, _>>()?;
            if numbers.len() > count {
                return Err(format!("{} values for {count} elements", numbers.len()));
            }
            let last = numbers[numbers.len() - 1];
            numbers.into_iter().chain(std::iter::repeat(last)).take(count).collect()
        }
    };
    Ok(Array::new(elem, shape, data.into_iter().map(|x| round(elem, x)).collect()))
}

/// Numbers in [0, 1), the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// SplitMix64.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub type Outcome = Result<(), String>;

/// What `check` says of the cases of every operator, each with its place; an operator without a case is a failure too.
pub fn failures(check: &(dyn Fn(&Case) -> Outcome + Sync)) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let operators = std::iter::from_fn(|| ops::ALL.get(next.fetch_add(1, Ordering::Relaxed)));
        operators.flat_map(|info| failures_of(info.name, check)).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        all.extend(others.into_iter().flat_map(|thread| thread.join().expect("panics are caught")));
        all
    })
}

/// Cases wait for compilers of other processes.
const THREADS: usize = 4;

fn failures_of(name: &str, check: &dyn Fn(&Case) -> Outcome) -> Vec<String> {
    let path = crate::folder().join("ops").join(format!("{name}.case"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        return vec![format!("{name}: no case; write {}", path.display())];
    };
    let cases = match cases(&text) {
        Ok(cases) => cases,
        Err(e) => return vec![format!("{name}.case:{e}")],
    };
    let mut failures = vec![];
    for case in cases {
        if case.op().name() != name {
            failures.push(format!("{name}.case:{}: a case of {}", case.line, case.op().name()));
        }
        if let Err(e) = caught(&case, check) {
            failures.push(format!("{name}.case:{}: {e}", case.line));
        }
    }
    failures
}

/// A panic is a failure of its case, not the end of all.
fn caught(case: &Case, check: &dyn Fn(&Case) -> Outcome) -> Outcome {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(case))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
        Err(format!("panics: {text}"))
    })
}

/// The operator by the whole compiler. The last input of its program tells the sizes.
pub fn program(case: &Case, target: Target) -> Result<Model, String> {
    let mut graph = case.graph.clone();
    let values = graph.results(case.node);
    graph.outputs = values.iter().enumerate().map(|(i, v)| (format!("y{i}"), *v)).collect();
    let dims = case.sizes.iter().map(|(name, _)| Dim::var(name)).collect();
    graph.operand("sizes", Storage::Input, TensorType::new(Elem::U8, dims), Origin::default());
    nnc::compile_graph(graph).target(target).build().map_err(|e| e.to_string())
}

/// The results of the operator's program are those that are exact.
pub fn compiled(case: &Case, results: &[Array], target: Target) -> Outcome {
    let tensor = |a: &Array| Tensor::from_f64(a.elem, &a.shape, a.data.iter().copied());
    let mut inputs: Vec<Tensor> = case.operands.iter().map(tensor).collect();
    inputs.push(Tensor::zeros(Elem::U8, &case.sizes.iter().map(|(_, n)| *n as usize).collect::<Vec<_>>()));
    let model = program(case, target)?;
    let program = model.with(&mut |name| Err(nnc::Error::Weights(name.into()))).map_err(|e| e.to_string())?;
    let got = program.session(1).call(&case.graph.name, &inputs).map_err(|e| e.to_string())?;
    for (got, exact) in got.iter().zip(results) {
        if got.elem != exact.elem || got.shape != exact.shape {
            return Err(format!("the program gives {}{:?}", got.elem, got.shape));
        }
        compare(&got.to_f64(), exact, case.op().tolerance())?;
    }
    Ok(())
}

/// The largest difference relative to the largest finite magnitude is within the tolerance; what is not finite is equal.
pub fn compare(got: &[f64], exact: &Array, tolerance: f64) -> Outcome {
    let largest = exact.data.iter().filter(|x| x.is_finite()).fold(0.0, |m: f64, x| m.max(x.abs()));
    // What the type cannot hold becomes infinite; halves are rounded once more.
    let held = |x: f64| if exact.elem.nearest(x).is_infinite() { exact.elem.nearest(x) } else { x };
    let tolerance = tolerance
        + match exact.elem {
            Elem::F16 => 5e-4,
            Elem::Bf16 => 4e-3,
            _ => 0.0,
        };
    for (i, (got, want)) in got.iter().zip(&exact.data).enumerate() {
        let (got, want) = (held(*got), held(*want));
        if !(got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= tolerance * largest) {
            return Err(format!("element {i} is {got}, eval gives {want}"));
        }
    }
    Ok(())
}

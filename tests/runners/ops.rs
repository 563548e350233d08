//! Every operator, by its cases in `tests/ops`: `infer` against the shape that `eval` gives, `compute` as a nest against
//! `eval`, scheduled kernels and machine code against `eval` within the operator's tolerance.
//!
//! The step that fails first names the culprit: the operator's file, the schedule's lowering, or the back end.

use cpu::Isa;
use graph::interpret::values_of_sizes;
use graph::{Array, Graph, TensorType, Value, gradients, ops};
use kernel::{Kernel, Scheduled, apply, interpret};
use tests::case::{Case, Outcome, Random, compare, compiled, failures};
use tests::gradient::weighted_sum;
use tests::kernels::{Plain, kernel_of, plain};
use tests::machine::{self, Failure, Made};

#[test]
fn operators() {
    let failures = failures(&check);
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn check(case: &Case) -> Outcome {
    let results = case.op().eval(&case.operands, &|n| case.size(n)).map_err(|e| format!("eval: {e}"));
    if case.skip("eval").is_some() {
        return skipped(case, "eval", results.map(|_| ()));
    }
    let results = results?;
    shapes(case, &results)?;
    if let ([output], [exact]) = (&case.graph.node(case.node).types[..], &results[..]) {
        kernels(case, output, exact)?;
    }
    for isa in machine::isas() {
        skipped(case, "compiled", compiled(case, &results, nnc::Target::Cpu(isa)).map_err(|e| format!("{isa}:\n{e}")))?;
    }
    gradient(case)
}

/// `infer` says what `eval` gives.
fn shapes(case: &Case, results: &[Array]) -> Outcome {
    let types = &case.graph.node(case.node).types;
    if types.len() != results.len() {
        return Err(format!("infer gives {} results, eval {}", types.len(), results.len()));
    }
    for (ty, array) in types.iter().zip(results) {
        let dims: Vec<Option<i64>> = ty.dims.iter().map(|d| d.eval(&|n| case.size(n))).collect();
        let shape: Vec<Option<i64>> = array.shape.iter().map(|n| Some(*n as i64)).collect();
        if dims != shape || ty.elem != array.elem {
            return Err(format!("infer gives {ty}, eval {}{:?}", array.elem, array.shape));
        }
        if array.data.len() != array.shape.iter().product::<usize>() {
            return Err(format!("eval gives {} elements in a shape {:?}", array.data.len(), array.shape));
        }
    }
    Ok(())
}

/// The operator as a kernel, on every level.
fn kernels(case: &Case, output: &TensorType, exact: &Array) -> Outcome {
    let types: Vec<TensorType> = case.graph.operands.iter().map(|o| case.graph.ty(o.value).clone()).collect();
    let Some((kernel, buffers)) = kernel_of(case.op(), &types, output) else {
        let answer = match case.op().kind() {
            ops::Kind::Element => Err("it has no compute".to_string()),
            _ => Ok(()),
        };
        return skipped(case, "nest", answer);
    };
    let sizes: Option<Vec<i64>> = buffers.sizes.iter().map(|d| d.eval(&|n| case.size(n))).collect();
    let sizes = sizes.ok_or("a size of the kernel is not known")?;
    let nest = || {
        let mut data = arguments(case, exact);
        interpret::nest(&kernel, &sizes, &mut data).map_err(|e| format!("{e}\n{kernel}"))?;
        // Both in f64; sums may be in another order, constants of a kernel have the precision of f32.
        compare(&data[types.len()], exact, 1e-6).map_err(|e| format!("{e}\n{kernel}"))
    };
    skipped(case, "nest", nest())?;
    if case.skip("nest").is_some() {
        return Ok(());
    }
    let schedules = || both(|how, lanes| schedule(case, &kernel, &sizes, exact, how, lanes).map(|_| ()));
    skipped(case, "schedule", schedules())?;
    if case.skip("schedule").is_some() {
        return Ok(());
    }
    for isa in machine::isas() {
        native(case, &kernel, &sizes, exact, isa)?;
    }
    Ok(())
}

/// Machine code for one instruction set.
fn native(case: &Case, kernel: &Kernel, sizes: &[i64], exact: &Array, isa: Isa) -> Outcome {
    let lanes = isa.lanes() as i64;
    for how in [Plain::Serial, Plain::Lanes(lanes)] {
        let Some(scheduled) = schedule(case, kernel, sizes, exact, how, lanes)? else { continue };
        for made in [Made::Vectors, Made::Scalars] {
            let mut data = arguments(case, exact);
            match machine::run(&scheduled, isa, made, sizes, &mut data) {
                // What vectors cannot do, scalars do.
                Err(Failure::Unsupported(_)) if made == Made::Vectors => continue,
                Err(Failure::Unsupported(e)) => return Err(e),
                Err(Failure::Wrong(e)) => return Err(format!("{isa}, {how:?}, {made:?}: {e}\n{scheduled}")),
                Ok(()) => {}
            }
            compare(&data[kernel.buffers.len() - 1], exact, case.op().tolerance())
                .map_err(|e| format!("{isa}, {how:?}, {made:?}: {e}\n{scheduled}"))?;
        }
    }
    Ok(())
}

fn both(mut run: impl FnMut(Plain, i64) -> Outcome) -> Outcome {
    for lanes in [16, 8] {
        run(Plain::Serial, lanes)?;
        run(Plain::Lanes(lanes), lanes)?;
    }
    Ok(())
}

/// Applies a plain schedule and interprets what comes of it.
fn schedule(
    case: &Case,
    kernel: &Kernel,
    sizes: &[i64],
    exact: &Array,
    how: Plain,
    lanes: i64,
) -> Result<Option<Scheduled>, String> {
    let Some(schedule) = plain(kernel, how) else { return Ok(None) };
    let schedule = schedule.map_err(|e| e.to_string())?;
    let scheduled = apply(kernel, &schedule, lanes).map_err(|e| e.to_string())?;
    let mut data = arguments(case, exact);
    data.resize(scheduled.storage.len(), vec![]);
    interpret::scheduled(&scheduled, sizes, &mut data).map_err(|e| format!("{how:?}: {e}\n{kernel}\n{scheduled}"))?;
    compare(&data[kernel.buffers.len() - 1], exact, case.op().tolerance())
        .map_err(|e| format!("{how:?}: {e}\n{kernel}\n{scheduled}"))?;
    Ok(Some(scheduled))
}

/// Operands, then room for the result that no element of it may keep.
fn arguments(case: &Case, exact: &Array) -> Vec<Vec<f64>> {
    let mut data: Vec<Vec<f64>> = case.operands.iter().map(|a| a.data.clone()).collect();
    data.push(vec![if exact.elem.is_float() { f64::NAN } else { 99.0 }; exact.data.len()]);
    data
}

/// A step that the case skips must fail, and where its message is one line, for the stated reason.
fn skipped(case: &Case, step: &str, outcome: Outcome) -> Outcome {
    match (case.skip(step), outcome) {
        (None, outcome) => outcome.map_err(|e| format!("{step}: {e}")),
        (Some(_), Ok(())) => Err(format!("{step}: need not be skipped")),
        (Some(reason), Err(e)) if e.contains('\n') || e == reason => Ok(()),
        (Some(reason), Err(e)) => Err(format!("{step}: is skipped for `{reason}`, but fails with `{e}`")),
    }
}

/// Elements of each operand that are moved to measure a gradient, at most.
const MOVED: usize = 24;

/// The gradient of a weighted sum of the float results against difference quotients, both by `eval` in f64.
fn gradient(case: &Case) -> Outcome {
    let is_float = |v: &Value, g: &Graph| g.ty(*v).elem.is_float();
    let mut graph = case.graph.clone();
    let wrt: Vec<usize> = (0..graph.operands.len()).filter(|i| is_float(&graph.operands[*i].value, &graph)).collect();
    let results: Vec<Value> = graph.results(case.node).into_iter().filter(|v| is_float(v, &graph)).collect();
    let (mut operands, mut random) = (case.operands.clone(), Random::new(99));
    let Ok(exact) = values_of_sizes(&graph, &operands, &|n| case.size(n)) else { return Err("eval fails".into()) };
    let of = weighted_sum(&mut graph, &results, &mut |value| {
        let Array { elem, shape, .. } = &exact[&value];
        operands.push(Array::from_fn(*elem, shape.clone(), |_| random.unit() * 2.0 - 1.0));
    });
    let Some(of) = of.filter(|_| !wrt.is_empty()) else { return Ok(()) };
    let mut outcome = || {
        let values: Vec<Value> = wrt.iter().map(|i| graph.operands[*i].value).collect();
        let gradients = gradients(&mut graph, of, &values).map_err(|e| e.error.to_string())?;
        graph.verify().map_err(|e| format!("{e}\n{graph}"))?;
        let all = values_of_sizes(&graph, &operands, &|n| case.size(n)).map_err(|e| format!("{e}\n{graph}"))?;
        for (operand, gradient) in wrt.iter().zip(gradients) {
            quotients(case, &graph, of, &operands, *operand, &all[&gradient])?;
        }
        Ok(())
    };
    skipped(case, "gradient", outcome())
}

/// Moves elements of one operand both ways and compares what the scalar does with the gradient.
fn quotients(case: &Case, graph: &Graph, of: Value, operands: &[Array], moved: usize, gradient: &Array) -> Outcome {
    let x = &operands[moved];
    if gradient.shape != x.shape {
        return Err(format!("the gradient of operand {moved} has shape {:?}\n{graph}", gradient.shape));
    }
    // Only the case's own node and the sum, not the gradient.
    let mut forward = graph.clone();
    forward.outputs = vec![("of".into(), of)];
    forward.remove_dead();
    let at = |i: usize, value: f64| {
        let mut operands = operands.to_vec();
        operands[moved].data[i] = value;
        let values = values_of_sizes(&forward, &operands, &|n| case.size(n)).map_err(|e| format!("{e}\n"))?;
        Ok::<f64, String>(values[&of].data[0])
    };
    let step = x.data.len().div_ceil(MOVED).max(1);
    for i in (0..x.data.len()).step_by(step) {
        let h = 1e-5 * x.data[i].abs().max(1.0);
        let quotient = (at(i, x.data[i] + h)? - at(i, x.data[i] - h)?) / (2.0 * h);
        let got = gradient.data[i];
        if !((got - quotient).abs() <= 1e-5 * quotient.abs().max(1.0)) {
            return Err(format!(
                "operand {moved}, element {i}, which is {}: the gradient is {got}, the difference quotient {quotient}\n{graph}",
                x.data[i]
            ));
        }
    }
    Ok(())
}

//! Random graphs: compiled code against the graph's interpreter.
//!
//! Each run makes the same 60 graphs. `NNC_GRAPHS` says how many instead, `NNC_SEED` makes others. A failure is made as
//! small as it goes and shown as text. Seeds 1 and 2 were right for 2,500 graphs each.

use graph::{Array, Storage, interpret};
use nnc::{Elem, Isa, Tensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tests::case::Random;
use tests::random::{self, RandomGraph, SIZE, Step, What};

fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn compiled_graphs_agree_with_their_interpreter() {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number("NNC_SEED", 0).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let config = Config {
        cases: number("NNC_GRAPHS", 60),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let step =
        (proptest::sample::select(What::ALL), any::<[u8; 4]>()).prop_map(|(what, choices)| Step { what, choices });
    let graphs = (any::<[u8; 3]>(), proptest::collection::vec(step, 1..14), any::<[u8; 2]>());
    // Panics are failures like others; their messages are shown with the graph.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = TestRunner::new_with_rng(config, rng).run(&graphs, |(sizes, steps, outputs)| {
        let made = random::graph(sizes, &steps, outputs);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&made)));
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("panics: {}", text.unwrap_or("without a message")))
        });
        outcome.map_err(|e| TestCaseError::fail(format!("{e}\n{}", made.graph)))
    });
    std::panic::set_hook(hook);
    if let Err(proptest::test_runner::TestError::Fail(reason, _)) = result {
        panic!("{reason}");
    }
}

fn check(made: &RandomGraph) -> Result<(), String> {
    let graph = &made.graph;
    graph.verify().map_err(|e| e.to_string())?;
    for isa in [Isa::Avx512, Isa::Avx2].into_iter().filter(|isa| *isa <= Isa::host()) {
        let mut random = Random::new(1);
        let model = nnc::compile_graph(graph.clone()).isa(isa).build().map_err(|e| format!("{isa}: {e}"))?;
        let weights: Vec<(String, Tensor)> = (graph.operands.iter().zip(&made.below))
            .filter(|(o, _)| o.storage != Storage::Input)
            .map(|(o, below)| (o.name.clone(), fill(&mut random, graph, o, *below, 0)))
            .collect();
        let weight = |name: &str| weights.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        let program = model.with(&mut |name| weight(name).ok_or_else(|| nnc::Error::Weights(name.into())));
        let program = program.map_err(|e| e.to_string())?;
        for threads in [1, 3] {
            let mut session = program.session(threads);
            for n in [1, 37, 4] {
                let tensors: Vec<Tensor> = (graph.operands.iter().zip(&made.below))
                    .map(|(o, below)| weight(&o.name).unwrap_or_else(|| fill(&mut random, graph, o, *below, n)))
                    .collect();
                // A window may not fit on a small axis, which calls are to refuse.
                let Ok(expected) = interpret::run(graph, &tensors.iter().map(Array::from).collect::<Vec<_>>()) else {
                    continue;
                };
                let inputs = graph.operands.iter().zip(&tensors).filter(|(o, _)| o.storage == Storage::Input);
                let inputs: Vec<Tensor> = inputs.map(|(_, t)| t.clone()).collect();
                let place = format!("{isa}, {threads} threads, {SIZE} = {n}");
                let got = session.call(&graph.name, &inputs).map_err(|e| format!("{place}: {e}"))?;
                for (i, (expected, got)) in expected.iter().zip(&got).enumerate() {
                    compare(expected, got, made.errors[i]).map_err(|e| format!("{place}: output {i}{e}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Floats in ±1 with few digits, so that some are equal; integers below `below`.
fn fill(random: &mut Random, graph: &graph::Graph, operand: &graph::Operand, below: f64, n: i64) -> Tensor {
    let ty = graph.ty(operand.value);
    let shape: Vec<usize> = ty.dims.iter().map(|d| d.eval(&|_| Some(n)).unwrap_or(0) as usize).collect();
    let next = || match ty.elem {
        Elem::F32 => (random.unit() * 64.0).floor() / 32.0 - 1.0,
        _ => (random.unit() * below).floor(),
    };
    Tensor::from_f64(ty.elem, &shape, std::iter::repeat_with(next).take(shape.iter().product()))
}

fn compare(expected: &Array, got: &Tensor, error: f64) -> Result<(), String> {
    if expected.shape != got.shape || expected.elem != got.elem {
        return Err(format!(" is {}{:?}, expected {}{:?}", got.elem, got.shape, expected.elem, expected.shape));
    }
    for (i, (e, g)) in expected.data.iter().zip(got.to_f64()).enumerate() {
        if *e != g && !((e - g).abs() <= error * 2.0) {
            return Err(format!("[{i}] is {g}, expected {e} ± {error:.1e}"));
        }
    }
    Ok(())
}

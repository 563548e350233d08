//! Programs for GPUs, on a GPU that is emulated: the kernels of every operator case and of whole models, compiled and
//! launched by the code that does so on a real one.

use nnc::Target;
use tests::case::{Case, Outcome, compiled, failures};
use tests::emulated;

fn target() -> Target {
    "cuda:sm_90a".parse().expect("an architecture")
}

#[test]
fn operators() {
    if !emulated::gpu() {
        return;
    }
    let failures = failures(&on_gpu);
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn on_gpu(case: &Case) -> Outcome {
    if case.skip("eval").is_some() {
        return Ok(());
    }
    let results = case.op().eval(&case.operands, &|n| case.size(n)).map_err(|e| format!("eval: {e}"))?;
    match (case.skip("compiled"), compiled(case, &results, target())) {
        (None, outcome) => outcome,
        (Some(_), Ok(())) => Err("need not be skipped".into()),
        (Some(_), Err(_)) => Ok(()),
    }
}

/// Products, windows over pictures, loops with caches, attention, sizes that the GPU computes.
#[test]
fn models() {
    if !emulated::gpu() {
        return;
    }
    for name in ["mlp", "resnet", "lstm", "bert", "t5", "chosen sizes"] {
        tests::models::case(name).check_on(&target(), &[1]);
    }
}

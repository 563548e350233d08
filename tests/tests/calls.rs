//! Calls that do not fit are refused, or fail, with a message that says what was expected and what was found.

use nnc::{Elem, Program, Tensor};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

fn bert() -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl-examples/bert_encoder.nn");
    // The place of a guard is part of its message.
    let text = std::fs::read_to_string(path).unwrap();
    let compiler = nnc::compile_text("bert_encoder.nn", &text);
    let small = compiler.define("vocab", 50).define("dim", 64).define("layers", 1).define("heads", 2);
    small.build().unwrap().with_random_weights(0).unwrap()
}

/// Inputs of `shape` that are right, for a test to spoil.
fn inputs(shape: &[usize]) -> Vec<Tensor> {
    let ones = || vec![1.0; shape.iter().product()];
    [Elem::I32, Elem::I32, Elem::Bool].map(|elem| Tensor::from_f64(elem, shape, ones())).into()
}

#[test]
fn calls_that_do_not_fit() {
    let program = bert();
    let mut session = program.session(1);
    let spoilt = |at: usize, tensor: Tensor| {
        let mut inputs = inputs(&[1, 3]);
        inputs[at] = tensor;
        inputs
    };
    let calls = [
        ("no such entry", "encode", inputs(&[1, 3])),
        ("an input too few", "forward", inputs(&[1, 3])[..2].to_vec()),
        ("wrong rank", "forward", spoilt(0, Tensor::zeros(Elem::I32, &[3]))),
        ("wrong element type", "forward", spoilt(0, Tensor::zeros(Elem::I64, &[1, 3]))),
        ("sizes that differ", "forward", spoilt(1, Tensor::zeros(Elem::I32, &[1, 4]))),
        ("a size of zero", "forward", inputs(&[1, 0])),
        ("a guard", "forward", inputs(&[1, 513])),
        ("an index too large", "forward", spoilt(0, Tensor::new(&[1, 3], &[0i32, 50, 1]))),
        ("an index far below zero", "forward", spoilt(0, Tensor::new(&[1, 3], &[0i32, i32::MIN, 1]))),
        ("bytes that are missing", "forward", {
            let mut inputs = inputs(&[1, 3]);
            inputs[2].bytes = inputs[2].bytes[1..].into();
            inputs
        }),
    ];
    let mut text = String::new();
    for (what, entry, inputs) in calls {
        let answer = match session.call(entry, &inputs) {
            Ok(_) => "accepted".to_string(),
            Err(error) => error.to_string(),
        };
        let _ = writeln!(text, "{what}: {answer}");
    }
    let mut narrow = [Tensor::zeros(Elem::F32, &[1, 3, 63]), Tensor::zeros(Elem::F32, &[1, 64])];
    let error = session.call_into(0, &inputs(&[1, 3]), &mut narrow).unwrap_err();
    let _ = writeln!(text, "results without room: {error}");
    insta::assert_snapshot!(text);
    session.call("forward", &inputs(&[1, 3])).expect("a session goes on after a call that failed");
}

#[test]
fn sizes_that_do_not_fit() {
    let text = "model First(x: [N], count: i32[2]) -> (y: [n <= N]) = x[..sum(count)]";
    let program = nnc::compile_text("first.nn", text).build().unwrap().load(&[] as &[&str], None).unwrap();
    let mut session = program.session(2);
    let mut call = |count: [i32; 2]| {
        let x = Tensor::new(&[4], &[1f32, 2.0, 3.0, 4.0]);
        session.call("forward", &[x, Tensor::new(&[2], &count)]).map(|results| results[0].to_f64())
    };
    assert_eq!(call([1, 2]).unwrap(), [1.0, 2.0, 3.0]);
    let places = [call([3, 2]), call([-1, 0])].map(|answer| answer.unwrap_err().to_string());
    insta::assert_snapshot!(places.join("\n"));
    assert_eq!(call([4, 0]).unwrap(), [1.0, 2.0, 3.0, 4.0], "a session goes on after a call that failed");
}

/// Overhead alone: adding two numbers.
#[test]
fn the_smallest_call_takes_less_than_a_microsecond() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/add.nn");
    let program = nnc::compile(path).unwrap().build().unwrap().load(&[] as &[&Path], None).unwrap();
    let inputs = [Tensor::new(&[1], &[1f32]), Tensor::new(&[1], &[1f32])];
    let mut session = program.session(1);
    let mut results = session.call("forward", &inputs).unwrap();
    assert_eq!(results[0].to_vec::<f32>(), Some(vec![2.0]));
    let mut times: Vec<Duration> = vec![];
    for _ in 0..10_001 {
        let start = Instant::now();
        session.call_into(0, &inputs, &mut results).unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];
    assert!(median < Duration::from_micros(1), "{median:?}");
}

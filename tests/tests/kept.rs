//! What changes from call to call: several calls of one session against the interpreter, which is given each version.

use graph::{Array, Graph, Storage, interpret};
use nnc::{Elem, Tensor};
use std::collections::HashMap;
use tests::case::Random;

fn random(random: &mut Random, elem: Elem, shape: &[usize]) -> Tensor {
    let next = || if elem.is_float() { random.unit() - 0.5 } else { (random.unit() * 9.0).floor() };
    Tensor::from_f64(elem, shape, std::iter::repeat_with(next).take(shape.iter().product()))
}

fn close(expected: &Array, got: &Tensor, place: &str) {
    assert_eq!(expected.shape, got.shape, "{place}");
    for (i, (e, g)) in expected.data.iter().zip(got.to_f64()).enumerate() {
        assert!((e - g).abs() <= 1e-5, "{place}[{i}] is {g}, expected {e}");
    }
}

/// Three calls of each entry; `sizes` gives those of inputs and caches.
fn check(reference: &[(String, Graph)], model: &nnc::Model, sizes: &dyn Fn(&str) -> Option<i64>) {
    let mut source = Random::new(5);
    let shape = |ty: &graph::TensorType| -> Vec<usize> {
        ty.dims.iter().map(|d| d.eval(&|n| sizes(n)).expect("all sizes are given") as usize).collect()
    };
    let mut now: HashMap<String, Array> = HashMap::new();
    let mut weights: HashMap<String, Tensor> = HashMap::new();
    for stored in &model.stored {
        let t = match stored.storage {
            Storage::Cache => Tensor::zeros(stored.ty.elem, &shape(&stored.ty)),
            _ => random(&mut source, stored.ty.elem, &shape(&stored.ty)),
        };
        now.insert(stored.name.clone(), Array::from(&t));
        weights.insert(stored.name.clone(), t);
    }
    let program = model.with(&mut |name| Ok(weights[name].clone())).unwrap();
    let mut session = program.session(2);
    for call in 0..3 {
        for (entry, graph) in reference {
            let (mut inputs, mut operands) = (vec![], vec![]);
            for o in &graph.operands {
                if o.storage == Storage::Input {
                    let ty = graph.ty(o.value);
                    inputs.push(random(&mut source, ty.elem, &shape(ty)));
                    operands.push(Array::from(inputs.last().unwrap()));
                } else {
                    operands.push(now[&o.name].clone());
                }
            }
            let values = interpret::values(graph, &operands).unwrap();
            let got = session.call(entry, &inputs).unwrap_or_else(|e| panic!("{e}"));
            for ((name, value), got) in graph.outputs.iter().zip(&got) {
                close(&values[value], got, &format!("call {call} of {entry}: {name}"));
            }
            for (operand, value) in &graph.updates {
                now.insert(graph.operands[*operand].name.clone(), values[value].clone());
            }
        }
    }
}

#[test]
fn an_lstm_goes_on_where_it_was() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl-examples/lstm_lm.nn");
    let compiler = || {
        let small = [("vocab", "9"), ("dim", "20"), ("T", "4")];
        small.into_iter().fold(nnc::compile(&path).unwrap(), |c, (n, v)| c.define(n, v))
    };
    let reference = compiler().elaborate().unwrap_or_else(|e| panic!("{e}"));
    let reference: Vec<(String, Graph)> = reference.entries.into_iter().map(|e| (e.name, e.graph)).collect();
    let model = compiler().build().unwrap_or_else(|e| panic!("{e}"));
    check(&reference, &model, &|name| (name == "B").then_some(3));
}

/// A mean that follows its inputs, a count, and a copy of an input for the next call.
const MEAN: &str = "graph @mean(%x: f32[n, 4], state %mean: f32[4], state %count: i32[], cache %last: f32[n, 4]) {
  %0 = sum %x {axes = [0], keep = false} : f32[4]
  %1 = full {shape = [4], value = 0.5, elem = f32} : f32[4]
  %2 = mul %mean, %1 : f32[4]
  %3 = add %2, %0 : f32[4]
  %4 = full {shape = [], value = 1, elem = i32} : i32[]
  %5 = add %count, %4 : i32[]
  %6 = add %last, %x : f32[n, 4]
  return y = %6, before = %mean, z = %x, %mean := %3, %count := %5, %last := %x
}
";

#[test]
fn states_and_caches_change() {
    let graph = Graph::parse(MEAN).unwrap_or_else(|e| panic!("{e}"));
    let model = nnc::compile_graph(graph.clone()).build().unwrap_or_else(|e| panic!("{e}"));
    check(&[("mean".into(), graph)], &model, &|_| Some(5));
}

#[test]
fn a_call_that_fails_changes_nothing() {
    let text = "graph @pick(%i: i32[2], param %w: f32[3], state %sum: f32[2]) {
  %0 = take %w, %i {axis = 0} : f32[2]
  %1 = add %0, %sum : f32[2]
  return y = %1, %sum := %1
}
";
    let graph = Graph::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let model = nnc::compile_graph(graph).build().unwrap_or_else(|e| panic!("{e}"));
    let start =
        |name: &str| if name == "w" { Tensor::new(&[3], &[1.0f32, 2.0, 3.0]) } else { Tensor::zeros(Elem::F32, &[2]) };
    let program = model.with(&mut |name| Ok(start(name))).unwrap();
    let mut session = program.session(1);
    let mut pick = |i: [i32; 2]| session.call("pick", &[Tensor::new(&[2], &i)]).map(|y| y[0].to_f64());
    assert_eq!(pick([0, 2]).unwrap(), [1.0, 3.0]);
    assert!(pick([0, 7]).is_err());
    assert_eq!(pick([1, 1]).unwrap(), [3.0, 5.0]);
}

/// Batch normalisation as it is in training.
const NORM: &str = "
model Norm(eps: float = 1e-5, momentum: float = 0.1)(x: [B, 3, H, W]) -> [B, 3, H, W] {
  state running_mean: [3] = zeros()
  state running_var:  [3] = ones()
  state batches: i32[] = 0
  m = mean(x, axes = [0, 2, 3])
  v = variance(x, axes = [0, 2, 3])
  n = B * H * W
  running_mean := (1 - momentum) * running_mean + momentum * m
  running_var  := (1 - momentum) * running_var + momentum * v * (n / (n - 1))
  batches := batches + 1
  (x - m[:, none, none]) * rsqrt(v + eps)[:, none, none]
}
";

#[test]
fn a_norm_follows_its_batches() {
    let compiler = || nnc::compile_text("norm.nn", NORM);
    let reference = compiler().elaborate().unwrap_or_else(|e| panic!("{e}"));
    let reference: Vec<(String, Graph)> = reference.entries.into_iter().map(|e| (e.name, e.graph)).collect();
    let model = compiler().build().unwrap_or_else(|e| panic!("{e}"));
    check(&reference, &model, &|name| Some(if name == "B" { 2 } else { 5 }));
}

//! Gradients of whole models, compiled, against the reference interpreter.

use graph::{Array, Elem, Graph, Origin, Storage, interpret, ops};
use nnc::Tensor;
use std::collections::HashMap;
use tests::case::Random;

/// `sum(y y)` of all outputs, and its gradient in each parameter and float input as the outputs.
fn with_gradients(graph: &mut Graph) {
    let origin = Origin::default();
    let mut total = None;
    for (_, y) in std::mem::take(&mut graph.outputs) {
        let axes = (0..graph.ty(y).rank()).collect();
        let square = graph.push(ops::Mul {}, &[y, y], &origin).unwrap();
        let sum = graph.push(ops::Sum { axes, keep: false }, &[square], &origin).unwrap();
        total = Some(total.map_or(sum, |t| graph.push(ops::Add {}, &[t, sum], &origin).unwrap()));
    }
    let total = total.expect("a model has an output");
    let floats = graph.operands.iter().filter(|o| graph.ty(o.value).elem.is_float());
    let (names, wrt): (Vec<String>, Vec<_>) = floats.map(|o| (format!("d{}", o.name), o.value)).unzip();
    let gradients = graph::gradients(graph, total, &wrt).unwrap();
    graph.set_output("loss", total);
    names.into_iter().zip(gradients).for_each(|(name, g)| graph.set_output(name, g));
    graph.remove_dead();
    graph.verify().unwrap();
    graph.verify_text().unwrap();
}

fn check(file: &str, model: &str, sizes: &[&[(&str, usize)]]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file);
    let mut graph = nnc::compile(path).unwrap().model(model).elaborate().unwrap().entries.remove(0).graph;
    with_gradients(&mut graph);
    let mut random = Random::new(5);
    let mut tensor = |shape: &[usize]| {
        let numbers = std::iter::repeat_with(|| (random.unit() - 0.5) as f32 as f64);
        Tensor::from_f64(Elem::F32, shape, numbers.take(shape.iter().product()))
    };
    for isa in nnc::Isa::ALL.into_iter().filter(|isa| *isa <= nnc::Isa::host()) {
        let model = nnc::compile_graph(graph.clone()).isa(isa).build().unwrap_or_else(|e| panic!("{e}"));
        let shape = |dims: &[graph::Dim], size: &dyn Fn(&str) -> Option<i64>| -> Vec<usize> {
            dims.iter().map(|d| d.eval(&size).expect("all sizes are given") as usize).collect()
        };
        let stored = model.stored.iter().map(|s| (s.name.clone(), tensor(&shape(&s.ty.dims, &|_| None))));
        let weights: HashMap<String, Tensor> = stored.collect();
        let program = model.with(&mut |name| Ok(weights[name].clone())).unwrap();
        let mut session = program.session(1);
        for sizes in sizes {
            let size = |n: &str| sizes.iter().find(|(s, _)| *s == n).map(|(_, v)| *v as i64);
            let mut inputs = vec![];
            let mut operands = vec![];
            for o in &graph.operands {
                let tensor = match o.storage {
                    Storage::Input => tensor(&shape(&graph.ty(o.value).dims, &size)),
                    _ => weights[&o.name].clone(),
                };
                operands.push(Array::from(&tensor));
                if o.storage == Storage::Input {
                    inputs.push(tensor);
                }
            }
            let expected = interpret::run(&graph, &operands).unwrap();
            let got = session.call(&program.entries()[0].name, &inputs).unwrap();
            for ((e, g), (name, _)) in expected.iter().zip(&got).zip(&graph.outputs) {
                assert_eq!(e.shape, g.shape, "{name}");
                let most = e.data.iter().fold(0.0, |m: f64, x| m.max(x.abs())).max(1e-6);
                for (i, (e, g)) in e.data.iter().zip(g.to_f64()).enumerate() {
                    assert!((e - g).abs() <= 2e-5 * most, "{isa} {sizes:?} {name}[{i}] is {g}, expected {e}");
                }
            }
        }
    }
}

#[test]
fn scans() {
    check("scans.nn", "Both", &[&[("B", 1), ("T", 1)], &[("B", 3), ("T", 6)], &[("B", 17), ("T", 3)]]);
    check("scans.nn", "Grid", &[&[("R", 1), ("C", 1)], &[("R", 3), ("C", 4)]]);
    check("scans.nn", "Map", &[&[("T", 1)], &[("T", 7)]]);
}

/// A small gradient before the passes and after them: products of the backward pass are products, and masks are fused.
#[test]
fn the_graph_of_a_gradient() {
    let text = "model M(x: [B, 3]) -> (y: [B, 2]) = x |> fc: Linear(4) |> relu |> out: Linear(2)";
    let mut graph = nnc::compile_text("m.nn", text).elaborate().unwrap().entries.remove(0).graph;
    with_gradients(&mut graph);
    let before = graph.to_string();
    let model = nnc::compile_graph(graph).build().unwrap();
    insta::assert_snapshot!(format!("{before}\nafter the passes\n\n{}", model.compiled[0].graph));
}

//! GPT-2 token by token against its cache gives what it gives for the whole text at once.

use diag::SourceMap;
use graph::{Array, Elem, Graph, Storage, interpret};
use std::collections::HashMap;

/// Numbers that depend on a name and nothing else.
fn weights(name: &str, shape: Vec<usize>) -> Array {
    let mut state = name.bytes().fold(1u64, |h, b| h.wrapping_mul(31).wrapping_add(b as u64));
    Array::from_fn(Elem::F32, shape, |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    })
}

/// One call; new versions of caches go into `kept`.
fn call(graph: &Graph, inputs: &HashMap<&str, Array>, kept: &mut HashMap<String, Array>) -> Array {
    let batch = inputs["tokens"].shape[0] as i64;
    let given: Vec<Array> = (graph.operands.iter())
        .map(|o| {
            let dims = &graph.ty(o.value).dims;
            let shape = || dims.iter().map(|d| d.eval(&|n| (n == "B").then_some(batch)).unwrap() as usize).collect();
            match o.storage {
                Storage::Input => inputs[o.name.as_str()].clone(),
                Storage::Cache => {
                    kept.entry(o.name.clone()).or_insert_with(|| Array::from_fn(Elem::F32, shape(), |_| 0.0)).clone()
                }
                _ => weights(&o.name, shape()),
            }
        })
        .collect();
    let values = interpret::values(graph, &given).unwrap();
    for (operand, value) in &graph.updates {
        kept.insert(graph.operands[*operand].name.clone(), values[value].clone());
    }
    values[&graph.outputs[0].1].clone()
}

fn tokens(rows: &[Vec<f64>]) -> Array {
    Array::new(Elem::I32, vec![rows.len(), rows[0].len()], rows.concat())
}

#[test]
fn decoding_equals_the_whole() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl-examples/gpt2.nn");
    let mut sources = SourceMap::default();
    let id = sources.add("gpt2.nn", std::fs::read_to_string(path).unwrap());
    let small = [("vocab", "11"), ("context", "8"), ("dim", "8"), ("layers", "2"), ("heads", "2")];
    let small: Vec<(String, String)> = small.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let model = dsl::elaborate(&mut sources, id, None, &small).unwrap();
    let [forward, decode] = &model.entries[..] else { panic!("two entries") };
    let text = [vec![3.0, 1.0, 4.0, 1.0, 5.0, 9.0], vec![2.0, 6.0, 5.0, 3.0, 5.0, 8.0]];
    let whole = call(&forward.graph, &HashMap::from([("tokens", tokens(&text))]), &mut HashMap::new());
    let mut caches = HashMap::new();
    // Three at once, then one after another.
    for (from, to) in [(0, 3), (3, 4), (4, 5), (5, 6)] {
        let part = text.clone().map(|row| row[from..to].to_vec());
        let inputs = HashMap::from([("tokens", tokens(&part)), ("pos", Array::scalar(Elem::I32, from as f64))]);
        let last = call(&decode.graph, &inputs, &mut caches);
        assert_eq!(last.shape, [2, 11]);
        for b in 0..2 {
            for v in 0..11 {
                let (x, y) = (last.at(&[b, v]), whole.at(&[b, to - 1, v]));
                assert!((x - y).abs() < 1e-9, "token {to} of text {b}: {x} and {y}");
            }
        }
    }
    // A place behind the end of the cache.
    let given = HashMap::from([("tokens", tokens(&text)), ("pos", Array::scalar(Elem::I32, 5.0))]);
    let run = std::panic::catch_unwind(|| call(&decode.graph, &given, &mut HashMap::new()));
    assert!(run.is_err());
}

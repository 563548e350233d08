//! Two ways to write one thing: each model of `equal` returns pairs `a`, `a2` that must come out equal.

use diag::SourceMap;
use graph::{Array, Elem, Graph};

/// Values of an input: small integers where they are needed, else numbers on both sides of zero.
fn input(graph: &Graph, operand: usize) -> Array {
    let ty = graph.ty(graph.operands[operand].value);
    let size = |name: &str| Some(3 + graph.symbols().iter().position(|s| &**s == name).unwrap() as i64);
    let shape = ty.dims.iter().map(|d| d.eval(&size).unwrap() as usize).collect();
    let mut state = 12345 + operand as u64;
    Array::from_fn(ty.elem, shape, |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let unit = (state >> 40) as f64 / (1u64 << 24) as f64;
        match ty.elem {
            Elem::F32 => 4.0 * unit - 2.0,
            _ => (unit * 3.0).floor(),
        }
    })
}

#[test]
fn pairs_are_equal() {
    insta::glob!("equal/*.nn", |path| {
        let mut sources = SourceMap::default();
        let id = sources.add("model.nn", std::fs::read_to_string(path).unwrap());
        let model =
            dsl::elaborate(&mut sources, id, None, &[]).unwrap_or_else(|e| panic!("{}", e[0].render(&sources, false)));
        let graph = &model.entries[0].graph;
        graph.verify().unwrap();
        let inputs: Vec<Array> = (0..graph.operands.len()).map(|i| input(graph, i)).collect();
        let outputs = graph::interpret::run(graph, &inputs).unwrap();
        for (pair, names) in outputs.chunks(2).zip(graph.outputs.chunks(2)) {
            assert_eq!(pair[0].shape, pair[1].shape);
            for (x, y) in pair[0].data.iter().zip(&pair[1].data) {
                assert!((x - y).abs() <= 1e-9, "{}: {}: {x} and {y}", path.display(), names[0].0);
            }
        }
    });
}

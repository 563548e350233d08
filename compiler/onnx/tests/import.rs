//! Files of ONNX, made here: the text that they become, and what is refused.

use bytes::Bytes;
use onnx::proto::{Attribute, Dimension, Entry, Graph, Model, Node, OpsetId, Shape, Size, TensorProto, TensorType};
use onnx::proto::{Type, ValueInfo, kind};
use onnx::{Import, Problem};
use prost::Message;
use std::path::Path;

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<Attribute>) -> Node {
    let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    let (inputs, outputs) = (names(inputs), names(outputs));
    Node { op: op.into(), inputs, outputs, attributes, ..Default::default() }
}

fn ints(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: ints.to_vec(), kind: kind::INTS, ..Default::default() }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, kind: kind::INT, ..Default::default() }
}

fn port(name: &str, dims: &[Size]) -> ValueInfo {
    let dims = dims.iter().map(|size| Dimension { size: Some(size.clone()) }).collect();
    let tensor = Some(TensorType { elem: 1, shape: Some(Shape { dims }) });
    ValueInfo { name: name.into(), ty: Some(Type { tensor }) }
}

fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let float_data = vec![0.5; dims.iter().product::<i64>() as usize];
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: 1, float_data, ..Default::default() }
}

fn longs(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 7,
        int64_data: data.to_vec(),
        ..Default::default()
    }
}

fn model(nodes: Vec<Node>, initializers: Vec<TensorProto>) -> Model {
    let batch = || Size::Name("batch size".into());
    let inputs = vec![port("input.1", &[batch(), Size::Value(3), Size::Value(8), Size::Value(8)])];
    let outputs = vec![port("y", &[batch()])];
    let graph = Graph { nodes, initializers, inputs, outputs, ..Default::default() };
    let opsets = vec![OpsetId { domain: String::new(), version: 17 }];
    Model { ir_version: 8, producer: "a test".into(), graph: Some(graph), opsets, ..Default::default() }
}

fn import(model: &Model) -> Result<Import, Problem> {
    onnx::import(Bytes::from(model.encode_to_vec()), "tiny", Path::new("."))
}

fn text(model: &Model) -> String {
    import(model).map_or_else(|problem| problem.to_string(), |import| import.text)
}

/// Weights keep their names, sizes stay names, and arithmetic on shapes is gone.
#[test]
fn a_small_network() {
    let nodes = vec![
        node(
            "Conv",
            &["input.1", "conv.weight", "conv.bias"],
            &["/conv"],
            vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1]), int("group", 1)],
        ),
        node("Clip", &["/conv", "", "six"], &["/clip"], vec![]),
        node("Shape", &["/clip"], &["shape"], vec![]),
        node("Gather", &["shape", "zero"], &["batch"], vec![int("axis", 0)]),
        node("Unsqueeze", &["batch", "axes"], &["row"], vec![]),
        node("Concat", &["row", "rest"], &["target"], vec![int("axis", 0)]),
        node("Reshape", &["/clip", "target"], &["flat"], vec![]),
        node("Gemm", &["flat", "fc.weight", "fc.bias"], &["y"], vec![int("transB", 1)]),
    ];
    let six = TensorProto { dims: vec![], ..floats("six", &[1]) };
    let initializers = vec![
        floats("conv.weight", &[2, 3, 3, 3]),
        floats("conv.bias", &[2]),
        floats("fc.weight", &[5, 128]),
        floats("fc.bias", &[5]),
        six,
        longs("zero", &[], &[0]),
        longs("axes", &[1], &[0]),
        longs("rest", &[1], &[-1]),
    ];
    let import = import(&model(nodes, initializers)).unwrap();
    let entry =
        |(name, shape, elem): (String, Vec<usize>, Option<tensor::Elem>)| format!("{name}: {elem:?}{shape:?}\n");
    let entries: String = import.entries().into_iter().map(entry).collect();
    insta::assert_snapshot!(format!("{}\n{entries}", import.text));
    assert_eq!(import.tensor("fc.bias").unwrap().to_f64(), [0.5; 5]);
    let mut sources = diag::SourceMap::default();
    let file = sources.add("tiny.onnx", import.text);
    let model =
        dsl::elaborate(&mut sources, file, None, &[]).unwrap_or_else(|e| panic!("{}", e[0].render(&sources, false)));
    assert_eq!(model.entries[0].signature(), "forward(input.1: f32[Batch_size, 3, 8, 8]) -> (y: f32[Batch_size, 5])");
}

/// Parts of a size that is counted from the end, as the projection of queries, keys and values is split.
#[test]
fn a_part_of_the_last_size() {
    let nodes = vec![
        node("Shape", &["input.1"], &["shape"], vec![]),
        node("Gather", &["shape", "last"], &["size"], vec![int("axis", 0)]),
        node("Div", &["size", "two"], &["half"], vec![]),
        node("Unsqueeze", &["half", "zero"], &["end"], vec![]),
        node("Slice", &["input.1", "zero", "end", "three"], &["y"], vec![]),
    ];
    let initializers =
        vec![longs("last", &[], &[-1]), longs("two", &[], &[2]), longs("zero", &[1], &[0]), longs("three", &[1], &[3])];
    insta::assert_snapshot!(text(&model(nodes, initializers)));
}

/// Numbers that are used as tensors are all of them, of their type.
#[test]
fn numbers_as_tensors() {
    let to = |elem| int("to", elem);
    let nodes = vec![
        node("Cast", &["three"], &["floats"], vec![to(1)]),
        node("Mul", &["input.1", "floats"], &["a"], vec![]),
        node("Cast", &["none"], &["empty"], vec![to(1)]),
        node("Concat", &["floats", "empty"], &["b"], vec![int("axis", 0)]),
        node("Div", &["negative", "two"], &["c"], vec![]),
        node("Cast", &["c"], &["d"], vec![to(1)]),
        node("Add", &["a", "d"], &["y"], vec![]),
    ];
    let initializers = vec![
        longs("three", &[3], &[1, 2, 3]),
        longs("none", &[0], &[]),
        longs("negative", &[1], &[-3]),
        longs("two", &[1], &[2]),
    ];
    insta::assert_snapshot!(text(&model(nodes, initializers)));
}

/// All that is not known is told at once, with how often it occurs.
#[test]
fn what_is_not_read() {
    let unknown = vec![
        node("Relu", &["input.1"], &["a"], vec![]),
        node("Frobnicate", &["a"], &["b"], vec![]),
        node("Frobnicate", &["b"], &["c"], vec![]),
        node("Conv", &["c", "w"], &["d"], vec![int("secret", 3)]),
        node("LSTM", &["d", "w", "w", "", "lengths"], &["e"], vec![]),
        node("Reshape", &["d", "d"], &["f"], vec![]),
        Node { domain: "com.example".into(), ..node("Mine", &["f"], &["y"], vec![]) },
    ];
    let weights = || vec![floats("w", &[1, 1, 1, 1]), floats("lengths", &[2, 1])];
    let relu = || vec![node("Relu", &["input.1"], &["y"], vec![])];
    let old = Model { opsets: vec![OpsetId { domain: String::new(), version: 3 }], ..model(relu(), vec![]) };
    let escape = |location: &str| {
        let entry = Entry { key: "location".into(), value: location.into() };
        let w = TensorProto { float_data: vec![], external_data: vec![entry], data_location: 1, ..floats("w", &[1]) };
        model(vec![node("Add", &["input.1", "w"], &["y"], vec![])], vec![w])
    };
    let short = TensorProto { float_data: vec![0.5], ..floats("w", &[2, 1]) };
    let wide = TensorProto { dims: vec![i64::MAX, i64::MAX], float_data: vec![], ..floats("w", &[1]) };
    let stored = |w: TensorProto| model(vec![node("Add", &["input.1", "w"], &["y"], vec![])], vec![w]);
    let tensor = |m: &Model| import(m).and_then(|i| i.tensor("w")).map_or_else(|e| e.to_string(), |t| format!("{t:?}"));
    let answers = [
        text(&model(unknown, weights())),
        text(&old),
        text(&model(vec![node("Relu", &["nothing"], &["y"], vec![])], vec![])),
        text(&model(vec![], vec![])),
        text(&escape("../secret")),
        text(&escape("/etc/passwd")),
        text(&escape("none.bin")),
        tensor(&stored(short)),
        tensor(&stored(wide)),
        text(&Model { graph: None, ..model(relu(), vec![]) }),
        onnx::import(Bytes::from_static(b"\xff\xff\xff nonsense"), "x", Path::new(".")).err().unwrap().to_string(),
    ];
    insta::assert_snapshot!(answers.join("\n\n"));
}

/// Any change of a byte, and any end that is too early, is a model or a message.
#[test]
fn damaged_files() {
    let nodes = vec![node("Relu", &["input.1"], &["a"], vec![]), node("Add", &["a", "w"], &["y"], vec![])];
    let whole = model(nodes, vec![floats("w", &[2, 1])]).encode_to_vec();
    for at in 0..whole.len() {
        let _ = onnx::import(Bytes::from(whole[..at].to_vec()), "x", Path::new("."));
        for change in [1, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            if let Ok(import) = onnx::import(Bytes::from(damaged), "x", Path::new(".")) {
                let _ = import.tensor("w");
            }
        }
    }
}

/// A list that no text could hold, and a choice by no number at all.
#[test]
fn numbers_out_of_hand() {
    let huge =
        vec![node("ConstantOfShape", &["n"], &["all"], vec![]), node("Add", &["input.1", "all"], &["y"], vec![])];
    assert!(text(&model(huge, vec![longs("n", &[1], &[i64::MAX])])).contains("full(["));
    let branch = |name: &str| {
        let nodes = vec![node("Relu", &["input.1"], &["z"], vec![])];
        let g = Some(Graph { nodes, outputs: vec![port("z", &[])], ..Default::default() });
        Attribute { name: name.into(), g, ..Default::default() }
    };
    let choice = node("If", &["none"], &["y"], vec![branch("then_branch"), branch("else_branch")]);
    let refused = text(&model(vec![choice], vec![longs("none", &[0], &[])]));
    assert!(refused.contains("If needs one condition"), "{refused}");
}

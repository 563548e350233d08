//! The examples elaborate to graphs with the parameters of the checkpoints they are named after.

use diag::SourceMap;
use dsl::Model;
use graph::Storage;

fn elaborate(file: &str, defines: &[(&str, &str)]) -> Model {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl-examples").join(file);
    let mut sources = SourceMap::default();
    let id = sources.add(file, std::fs::read_to_string(path).unwrap());
    let defines: Vec<(String, String)> = defines.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    match dsl::elaborate(&mut sources, id, None, &defines) {
        Ok(model) => {
            for entry in &model.entries {
                if let Err(e) = entry.graph.verify() {
                    panic!("{file}: {}: {e}", entry.name);
                }
            }
            model
        }
        Err(errors) => panic!("{}", errors[0].render(&sources, false)),
    }
}

/// Names and types of what is stored, the middle left out, and the number of parameters.
fn stored(model: &Model) -> String {
    let params = model.stored.iter().filter(|s| s.storage == Storage::Param);
    let count: i64 = params.map(|s| s.ty.elements().as_int().unwrap()).sum();
    let lines: Vec<String> = model.stored.iter().map(|s| format!("{:?} {}: {}", s.storage, s.name, s.ty)).collect();
    let (first, last) =
        (&lines[..lines.len().min(14)], &lines[lines.len().saturating_sub(4).max(14.min(lines.len()))..]);
    format!("{}\n…\n{}\n{count} parameters", first.join("\n"), last.join("\n"))
}

/// The signature of an entry without storage, its guards, its results.
fn signature(model: &Model) -> String {
    let mut lines = vec![];
    for entry in &model.entries {
        let graph = &entry.graph;
        let inputs = graph.operands.iter().filter(|o| o.storage == Storage::Input);
        let inputs: Vec<String> = inputs.map(|o| format!("{}: {}", o.name, graph.ty(o.value))).collect();
        let outputs: Vec<String> = graph.outputs.iter().map(|(n, v)| format!("{n}: {}", graph.ty(*v))).collect();
        lines.push(format!("{}({}) -> ({})", entry.name, inputs.join(", "), outputs.join(", ")));
        lines.extend(graph.guards.iter().map(|g| format!("  where {}", g.text)));
        lines.extend(graph.updates.iter().map(|(i, v)| format!("  {} := {}", graph.operands[*i].name, graph.ty(*v))));
    }
    lines.join("\n")
}

#[test]
fn mnist_mlp() {
    let model = elaborate("mnist_mlp.nn", &[]);
    insta::assert_snapshot!("mnist_mlp", format!("{}\n{}", model.entries[0].graph, stored(&model)));
}

#[test]
fn resnet18() {
    let model = elaborate("resnet18.nn", &[]);
    insta::assert_snapshot!("resnet18", format!("{}\n{}", signature(&model), stored(&model)));
    let model = elaborate("resnet18.nn", &[("H", "224"), ("W", "224"), ("classes", "10")]);
    assert_eq!(signature(&model), "forward(x: f32[B, 3, 224, 224]) -> (output: f32[B, 10])");
}

#[test]
fn bert_encoder() {
    let model = elaborate("bert_encoder.nn", &[]);
    insta::assert_snapshot!("bert_encoder", format!("{}\n{}", signature(&model), stored(&model)));
    assert!(model.rules.contains_key("hub"));
}

#[test]
fn lstm_lm() {
    let model = elaborate("lstm_lm.nn", &[("T", "4")]);
    insta::assert_snapshot!("lstm_lm", format!("{}\n{}", signature(&model), stored(&model)));
}

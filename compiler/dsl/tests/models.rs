//! The examples elaborate to graphs with the parameters of the checkpoints they are named after.

use diag::SourceMap;
use dsl::Model;
use graph::Storage;

fn elaborate(file: &str, model: Option<&str>, defines: &[(&str, &str)]) -> Model {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl-examples").join(file);
    let mut sources = SourceMap::default();
    let id = sources.add(file, std::fs::read_to_string(path).unwrap());
    let defines: Vec<(String, String)> = defines.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    match dsl::elaborate(&mut sources, id, model, &defines) {
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

fn parameters(model: &Model) -> i64 {
    let params = model.stored.iter().filter(|s| s.storage == Storage::Param);
    params.map(|s| s.ty.elements().as_int().unwrap()).sum()
}

#[test]
fn show() {
    let m = elaborate("mnist_mlp.nn", None, &[]);
    println!("{}", m.entries[0].graph);
    println!("{}", parameters(&m));
    let m = elaborate("resnet18.nn", None, &[]);
    println!("{}", m.entries[0].graph);
    println!("{}", parameters(&m));
    let t = std::time::Instant::now();
    let m = elaborate("bert_encoder.nn", None, &[]);
    println!("{:?}", t.elapsed());
    println!("{}", m.entries[0].graph);
    println!("{} {}", parameters(&m), m.entries[0].graph.len());
    let m = elaborate("lstm_lm.nn", None, &[("T", "4")]);
    println!("{}", m.entries[0].graph);
    println!("{}", parameters(&m));
}

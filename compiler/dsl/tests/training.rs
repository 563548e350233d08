//! `train` blocks: steps as graphs, and what is wrong with some.

use diag::SourceMap;
use dsl::Training;

fn training(name: &str, text: &str) -> Result<Vec<Training>, String> {
    let mut sources = SourceMap::default();
    let id = sources.add(name, text);
    dsl::elaborate_all(&mut sources, id, None, &[])
        .map(|(_, training)| training)
        .map_err(|errors| errors.iter().map(|e| e.render(&sources, false)).collect::<Vec<_>>().join("\n\n"))
}

fn summary(blocks: &[Training]) -> String {
    let mut out = String::new();
    for block in blocks {
        out += &format!("train {}\n", block.name);
        for graph in &block.steps {
            let inputs = graph.operands.iter().filter(|o| o.storage == graph::Storage::Input);
            let inputs: Vec<String> = inputs.map(|o| format!("{}: {}", o.name, graph.ty(o.value))).collect();
            out += &format!("  step {}({}) updates {}\n", graph.name, inputs.join(", "), graph.updates.len());
        }
        for graph in &block.metrics {
            out += &format!("  metric {}: {}\n", graph.name, graph.ty(graph.outputs[0].1));
        }
    }
    out
}

#[test]
fn examples() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl-examples");
    let mut out = String::new();
    for file in ["mnist_mlp.nn", "resnet18.nn", "gan.nn", "vae.nn", "unet_diffusion.nn"] {
        let blocks =
            training(file, &std::fs::read_to_string(folder.join(file)).unwrap()).unwrap_or_else(|e| panic!("{e}"));
        for graph in blocks.iter().flat_map(|b| b.steps.iter().chain(&b.metrics)) {
            graph.verify().unwrap_or_else(|e| panic!("{file}: {}: {e}", graph.name));
        }
        out += &format!("{file}\n{}", summary(&blocks));
    }
    insta::assert_snapshot!(out);
}

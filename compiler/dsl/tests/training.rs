//! `train` blocks: steps as graphs, and what is wrong with some.

use diag::SourceMap;
use dsl::{Provided, Setting, Training};

fn training(name: &str, text: &str) -> Result<Vec<Training>, String> {
    let mut sources = SourceMap::default();
    let id = sources.add(name, text);
    dsl::elaborate_all(&mut sources, id, None, &[])
        .map(|(_, training)| training)
        .map_err(|errors| errors.iter().map(|e| e.render(&sources, false)).collect::<Vec<_>>().join("\n\n"))
}

fn signature(graph: &graph::Graph) -> String {
    let inputs = graph.operands.iter().filter(|o| o.storage == graph::Storage::Input);
    let inputs: Vec<String> = inputs.map(|o| format!("{}: {}", o.name, graph.ty(o.value))).collect();
    let outputs: Vec<String> = graph.outputs.iter().map(|(n, v)| format!("{n}: {}", graph.ty(*v))).collect();
    format!("({}) -> ({})", inputs.join(", "), outputs.join(", "))
}

fn provided(p: &Provided) -> String {
    let arguments = p.arguments.iter().map(|(name, value)| format!("{name} = {}", setting(value)));
    format!("{}({})", p.name, arguments.collect::<Vec<_>>().join(", "))
}

fn setting(value: &Setting) -> String {
    match value {
        Setting::None => "none".into(),
        Setting::Int(n) => n.to_string(),
        Setting::Float(x) => x.to_string(),
        Setting::Bool(b) => b.to_string(),
        Setting::Text(text) => format!("{text:?}"),
        Setting::Elem(elem) => elem.to_string(),
        Setting::List(items) => format!("[{}]", items.iter().map(setting).collect::<Vec<_>>().join(", ")),
        Setting::Metric(name) => name.clone(),
        Setting::Provided(p) => provided(p),
        Setting::Function(graph) => signature(graph),
    }
}

fn summary(blocks: &[Training]) -> String {
    let mut out = String::new();
    for block in blocks {
        out += &format!("train {}\n", block.name);
        for step in &block.steps {
            let (name, graph) = (&step.name, &step.graph);
            out += &format!("  step {name}{} updates {}\n", signature(graph), graph.updates.len());
            out += &format!("    from {}\n", provided(&step.data));
            for (name, p) in &step.provided {
                out += &format!("    {name} from {}\n", provided(p));
            }
        }
        for metric in &block.metrics {
            out += &format!("  metric {}{}\n", metric.graph.name, signature(&metric.graph));
            out += &format!("    from {}\n", provided(&metric.data));
        }
        for rule in &block.rules {
            out += &format!("  {}\n", provided(rule));
        }
        out += &format!("  {} first values, epochs {:?}\n", block.initial.outputs.len(), block.epochs);
    }
    out
}

#[test]
fn examples() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl-examples");
    let mut out = String::new();
    for file in ["mnist_mlp.nn", "resnet18.nn", "gan.nn", "vae.nn", "unet_diffusion.nn", "lstm_lm.nn"] {
        let blocks =
            training(file, &std::fs::read_to_string(folder.join(file)).unwrap()).unwrap_or_else(|e| panic!("{e}"));
        let graphs = |b: &'_ Training| {
            let steps = b.steps.iter().map(|s| s.graph.clone());
            let metrics = b.metrics.iter().map(|m| m.graph.clone());
            steps.chain(metrics).chain([b.initial.clone()]).collect::<Vec<_>>()
        };
        for graph in blocks.iter().flat_map(graphs) {
            graph.verify().unwrap_or_else(|e| panic!("{file}: {}: {e}", graph.name));
        }
        out += &format!("{file}\n{}", summary(&blocks));
    }
    insta::assert_snapshot!(out);
}

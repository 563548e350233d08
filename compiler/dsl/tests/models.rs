//! The examples elaborate to graphs with the parameters of the checkpoints they are named after.

use diag::SourceMap;
use dsl::Model;
use graph::Storage;

fn elaborate(file: &str, defines: &[(&str, &str)]) -> Model {
    elaborate_model(file, None, defines)
}

fn elaborate_model(file: &str, model: Option<&str>, defines: &[(&str, &str)]) -> Model {
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

/// Numbers that parameters have in all.
fn parameters(model: &Model) -> i64 {
    let params = model.stored.iter().filter(|s| s.storage == Storage::Param);
    params.map(|s| s.ty.elements().as_int().unwrap()).sum()
}

/// Entry types and counts of parameters of published models and textbook examples.
#[test]
fn examples_have_the_sizes_of_their_papers() {
    type Row = (&'static str, Option<&'static str>, &'static [(&'static str, &'static str)], i64);
    let rows: &[Row] = &[
        ("mnist_mlp.nn", None, &[], 203_530),
        ("resnet18.nn", None, &[("H", "224"), ("W", "224")], 11_689_512),
        ("resnet18.nn", None, &[], 11_689_512),
        ("lstm_lm.nn", None, &[("T", "4")], 50_065_078),
        ("bert_encoder.nn", None, &[], 109_482_240),
        ("gpt2.nn", None, &[], 124_439_808),
        ("gpt2.nn", Some("Gpt2Medium"), &[], 354_823_168),
        ("vae.nn", None, &[], 652_824),
        ("gan.nn", Some("Generator"), &[], 3_576_704),
        ("gan.nn", Some("Discriminator"), &[], 2_765_568),
        ("vit.nn", None, &[], 86_567_656),
        ("unet_diffusion.nn", None, &[], 35_746_307),
        ("unet_diffusion.nn", None, &[("H", "32"), ("W", "32")], 35_746_307),
        ("t5.nn", None, &[], 60_506_624),
        ("silero_vad.nn", None, &[], 309_633),
    ];
    let mut lines = vec![];
    for (file, name, defines, expected) in rows {
        let model = elaborate_model(file, *name, defines);
        assert_eq!(parameters(&model), *expected, "{file}: {}", model.name);
        lines.push(format!("{} {defines:?}\n{}", model.name, entries(&model)));
    }
    insta::assert_snapshot!("entries", lines.join("\n"));
}

/// Entries with their guards.
fn entries(model: &Model) -> String {
    let mut out = String::new();
    for entry in &model.entries {
        let guards: Vec<String> = entry.graph.guards.iter().map(|g| g.fact.to_string()).collect();
        let guards = if guards.is_empty() { String::new() } else { format!(" where {}", guards.join(", ")) };
        out += &format!("  {}{guards}\n", entry.signature());
    }
    out
}

/// Names and types of what is stored, the middle left out, and the number of parameters.
fn stored(model: &Model) -> String {
    let count = parameters(model);
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
        lines.push(entry.signature());
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

#[test]
fn custom_kernel() {
    let model = elaborate("custom_kernel.nn", &[]);
    assert_eq!(signature(&model), "forward(x: f32[B, T, 64]) -> (output: f32[B, T, 64])");
}

#[test]
fn defines_name_something() {
    let mut sources = SourceMap::default();
    let id = sources.add("model.nn", "const width = 4\nmodel M(x: [B, 8]) -> [B, width] = x |> Linear(width)");
    let define = |name: &str| vec![(name.to_string(), "2".to_string())];
    let model = dsl::elaborate(&mut sources, id, None, &define("width")).unwrap();
    assert_eq!(signature(&model), "forward(x: f32[B, 8]) -> (output: f32[B, 2])");
    let errors = dsl::elaborate(&mut sources, id, None, &define("widht")).unwrap_err();
    let expected = "-D widht: M has no constant, configuration or size of this name; did you mean `width`?";
    assert_eq!(errors[0].message, expected);
}

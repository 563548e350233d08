//! `weights` blocks against the names and shapes of files.

use diag::SourceMap;
use dsl::Model;
use dsl::weights::{Adapt, FileTensor, Rules, Source};
use graph::Storage;

const MODEL: &str = r#"
layer Norm(x: [B, D]) -> [B, D] {
  param weight: [D] = ones()
  param bias: [D] = zeros()
  x * weight + bias
}

model Small(x: [B, 4]) -> [B, 6] {
  cache seen: i32[]
  x |> embeddings.LayerNorm: Norm() |> block.0.LayerNorm: Norm() |> qkv: Linear(6, bias = false)
}

weights hub for Small {
  "bert.*.LayerNorm.gamma" -> "*.LayerNorm.weight"
  "bert.*.LayerNorm.beta" -> "*.LayerNorm.bias"
  ["bert.*q.weight", "bert.*k.weight", "bert.*v.weight"] -> "*qkv.weight" |> transpose |> concat(0)
  "cls.*" -> _
}

weights broken for Small { "*.a.*" -> "*" }
"#;

fn elaborate(text: &str) -> Result<Model, String> {
    let mut sources = SourceMap::default();
    let id = sources.add("model.nn", text);
    dsl::elaborate(&mut sources, id, None, &[]).map_err(|e| e[0].render(&sources, false))
}

fn model() -> Model {
    elaborate(&MODEL[..MODEL.find("weights broken").unwrap()]).unwrap()
}

fn file(tensors: &[(&str, &[i64])]) -> Vec<FileTensor> {
    tensors.iter().map(|(name, shape)| FileTensor { name: name.to_string(), shape: shape.to_vec() }).collect()
}

#[test]
fn rules_rename_join_and_drop() {
    let model = model();
    let file = file(&[
        ("bert.embeddings.LayerNorm.gamma", &[4]),
        ("bert.embeddings.LayerNorm.beta", &[4]),
        ("block.0.LayerNorm.weight", &[4]),
        ("bert.block.0.LayerNorm.beta", &[4]),
        ("bert.v.weight", &[4, 3]),
        ("bert.q.weight", &[4, 1]),
        ("bert.k.weight", &[4, 2]),
        ("cls.predictions.bias", &[30522]),
    ]);
    let sources = model.rules["hub"].assign(&file, &model.stored).unwrap();
    let plain = |stored: &str, from: &str| Source { stored: stored.into(), from: vec![from.into()], adapt: vec![] };
    let joined = ["bert.q.weight", "bert.k.weight", "bert.v.weight"].map(String::from).to_vec();
    assert_eq!(
        sources,
        [
            plain("embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.gamma"),
            plain("embeddings.LayerNorm.bias", "bert.embeddings.LayerNorm.beta"),
            plain("block.0.LayerNorm.weight", "block.0.LayerNorm.weight"),
            plain("block.0.LayerNorm.bias", "bert.block.0.LayerNorm.beta"),
            Source { stored: "qkv.weight".into(), from: joined, adapt: vec![Adapt::Transpose, Adapt::Concat(0)] },
        ]
    );
}

#[test]
fn a_file_that_does_not_fit_is_told_whole() {
    let model = model();
    let file = file(&[
        ("bert.embeddings.LayerNorm.gamma", &[4]),
        ("bert.embeddings.LayerNorm.beta", &[4]),
        ("bert.block.0.LayerNorm.gamma", &[4]),
        ("bert.block.0.LayerNorm.beta", &[4]),
        ("qkv.weight", &[4, 6]),
    ]);
    let error = Rules::default().assign(&file, &model.stored).unwrap_err();
    insta::assert_snapshot!("does_not_fit", error.message("hub/model.safetensors", "Small"));
}

#[test]
fn every_stored_tensor_is_needed_but_caches() {
    let model = model();
    let needed: Vec<FileTensor> = model
        .stored
        .iter()
        .filter(|s| s.storage != Storage::Cache)
        .map(|s| FileTensor { name: s.name.clone(), shape: s.ty.dims.iter().map(|d| d.as_int().unwrap()).collect() })
        .collect();
    assert_eq!(Rules::default().assign(&needed, &model.stored).unwrap().len(), 5);
}

#[test]
fn stars_come_in_pairs() {
    let error = elaborate(MODEL).unwrap_err();
    assert!(error.contains("error[E0601]: the patterns have 2 and 1 stars"), "{error}");
}

//! Files of ONNX with one operator each give what ONNX Runtime computed: `scripts/golden-onnx.py`.

use nnc::{Tensor, safetensors::Weights};
use std::path::{Path, PathBuf};

/// Largest difference, as a share of the largest magnitude: a few roundings of f32 on both sides.
const TOLERANCE: f64 = 2e-6;

#[test]
fn operators() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/onnx");
    let golden = Weights::open(&folder.join("nodes.safetensors")).unwrap();
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    files.sort();
    assert!(files.len() > 40);
    let wrong: Vec<String> = files.iter().filter_map(|file| difference(file, &golden).err()).collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

/// What differs between a file's results and the golden ones, if something does.
fn difference(file: &Path, golden: &Weights) -> Result<(), String> {
    let name = file.file_stem().unwrap().to_string_lossy();
    let said = |e: nnc::Error| format!("{name}: {e}");
    let program =
        nnc::compile(file).and_then(|c| c.build()).and_then(|m| m.load(&[] as &[&Path], None)).map_err(said)?;
    let value = |key: String| golden.get(&key).map(Tensor::from);
    let names = (0..).map_while(|i| value(format!("{name}.input.x{i}")));
    let results = program.session(1).call("forward", &names.collect::<Vec<_>>()).map_err(|e| format!("{name}: {e}"))?;
    for (i, got) in results.iter().enumerate() {
        let expected = value(format!("{name}.output.{i}")).ok_or(format!("{name} has no golden output {i}"))?;
        if (got.elem, &got.shape) != (expected.elem, &expected.shape) {
            let [got, expected] = [got, &expected].map(|t| format!("{}{:?}", t.elem, t.shape));
            return Err(format!("{name}: output {i} is {got}, expected {expected}"));
        }
        let (got, expected) = (got.to_f64(), expected.to_f64());
        let scale = expected.iter().fold(1e-6f64, |m, x| m.max(x.abs()));
        let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if worst.is_nan() || worst > TOLERANCE * scale {
            return Err(format!("{name}: output {i} differs by {worst:.2e}:\n  {got:.5?}\n  {expected:.5?}"));
        }
    }
    Ok(())
}

//! The standard library beside PyTorch: each model of `tests/models/std.nn` gives what `scripts/golden-std.py` computed.

use nnc::{Compiler, Tensor, safetensors::Weights};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Largest difference, as a share of the largest magnitude: sums of some hundred products in f32 on both sides.
const TOLERANCE: f64 = 2e-5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn compiler(model: &str) -> Compiler {
    nnc::compile(root().join("models/std.nn")).unwrap().model(model)
}

fn tensor(golden: &Weights, key: &str) -> Option<Tensor> {
    let stored = golden.get(key)?;
    Some(Tensor { elem: stored.elem, shape: stored.shape.to_vec(), bytes: stored.bytes.into() })
}

/// What differs between a model and its golden, if something does.
fn difference(model: &str, golden: &Weights) -> Result<(), String> {
    let made = compiler(model).build().map_err(|e| e.to_string())?;
    let entry = &made.entries[0];
    let stored = |name: &str| {
        let elem = made.stored.iter().find(|s| s.name == name).map(|s| s.ty.elem);
        let value = tensor(golden, &format!("{model}.param.{name}")).zip(elem).map(|(t, elem)| t.cast(elem));
        // Counters of batches are not stored.
        Ok(value.unwrap_or_else(|| Tensor::zeros(nnc::Elem::I64, &[])))
    };
    let program = made.with(&mut |name| stored(name)).map_err(|e| e.to_string())?;
    let input = |port: &nnc::Port| tensor(golden, &format!("{model}.input.{}", port.name)).ok_or(port.name.clone());
    let inputs = entry.inputs.iter().map(input).collect::<Result<Vec<_>, _>>()?;
    let results = program.session(1).call(&entry.name, &inputs).map_err(|e| e.to_string())?;
    for (i, result) in results.iter().enumerate() {
        let expected = tensor(golden, &format!("{model}.output.{i}")).ok_or(format!("no golden output {i}"))?;
        if result.shape != expected.shape {
            return Err(format!("output {i}: shape {:?}, expected {:?}", result.shape, expected.shape));
        }
        let (got, expected) = (result.to_f64(), expected.to_f64());
        let scale = expected.iter().fold(1e-6f64, |m, x| m.max(x.abs()));
        let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if worst.is_nan() || worst > TOLERANCE * scale || got.iter().any(|x| x.is_nan()) {
            return Err(format!("output {i} differs by {worst:.2e} of {scale:.2e}:\n  {got:.5?}\n  {expected:.5?}"));
        }
    }
    Ok(())
}

#[test]
fn each_piece_is_that_of_pytorch() {
    let golden = Weights::open(&root().join("golden/std/pieces.safetensors")).unwrap();
    let text = std::fs::read_to_string(root().join("models/std.nn")).unwrap();
    let models: BTreeSet<&str> = (text.lines().filter_map(|l| l.strip_prefix("model ")))
        .map(|l| l.split(|c: char| !c.is_alphanumeric()).next().unwrap())
        .collect();
    let entries = golden.entries();
    let known: BTreeSet<&str> = entries.iter().map(|(name, ..)| name.split('.').next().unwrap()).collect();
    assert_eq!(models, known, "models and goldens");
    let wrong: Vec<String> =
        (models.iter()).filter_map(|model| difference(model, &golden).err().map(|e| format!("{model}: {e}"))).collect();
    assert!(wrong.is_empty(), "{} of {} models differ:\n{}", wrong.len(), models.len(), wrong.join("\n"));
}

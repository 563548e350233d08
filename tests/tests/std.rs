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
    golden.get(key).map(Tensor::from)
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

/// Runs a `train` block of `tests/models/optimisers.nn`; gives its losses and the file of what was saved.
fn trained(block: &str, model: &str, folder: &Path) -> (Vec<(String, f64)>, Weights) {
    let options = nnc::TrainOptions { threads: 1, seed: 0, data: Some(root().join("golden/std")) };
    let compiler = nnc::compile(root().join("models/optimisers.nn")).unwrap().model(model);
    let mut trainer = compiler.trainer(Some(block), &options).unwrap_or_else(|e| panic!("{block}: {e}"));
    let mut losses = vec![];
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ran = trainer.run(&stop, &mut |_, event| {
        if let nnc::train::Event::Epoch { losses: each, .. } = event {
            losses = each.iter().map(|(name, x)| (name.to_string(), *x)).collect();
        }
        Ok(())
    });
    ran.unwrap_or_else(|e| panic!("{block}: {e}"));
    let file = folder.join("w.safetensors");
    trainer.save_weights(&file).unwrap();
    (losses, Weights::open(&file).unwrap())
}

#[test]
fn optimisers_step_as_those_of_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Weights::open(&root().join("golden/std/optimisers.safetensors")).unwrap();
    for (key, ..) in golden.entries() {
        let (block, name) = key.split_once('.').unwrap();
        let model = if block == "Seen" { "Normalised" } else { "W" };
        let (_, saved) = trained(block, model, folder.path());
        let got = tensor(&saved, name).unwrap_or_else(|| panic!("{block} saves no {name}")).to_f64();
        let expected = tensor(&golden, &key).unwrap().to_f64();
        let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Twenty steps, each rounded on both sides.
        assert!(got.len() == expected.len() && worst < 1e-5, "{key}: {got:?}, expected {expected:?}");
    }
}

#[test]
fn dropouts_keep_what_they_promise() {
    let folder = tempfile::tempdir().unwrap();
    let (losses, _) = trained("Chance", "W", folder.path());
    let expected = [1.0, 0.3, 0.0, 1.0, 0.0, 1.0, 1.0];
    assert_eq!(losses.len(), expected.len());
    for ((name, got), expected) in losses.iter().zip(expected) {
        // Twenty thousand draws at least: half a percent is three standard deviations.
        assert!((got - expected).abs() < 0.015, "{name}: {got}, expected {expected}");
    }
}

/// A tensor of 256 x 128 by an initialiser: its mean and standard deviation, and the largest magnitude if there is a bound.
const INITIALISERS: &[(&str, f64, f64, Option<f64>)] = &[
    ("uniform(shape, bound = 0.3)", 0.0, 0.3 / 1.7320508, Some(0.3)),
    ("normal(shape, std = 0.2, mean = 0.5)", 0.5, 0.2, None),
    // torch.nn.init.trunc_normal_ between -2 and 2 standard deviations has 0.8796 of its `std`.
    ("truncated_normal(shape, std = 0.1)", 0.0, 0.08796, Some(0.2)),
    ("kaiming_uniform(shape)", 0.0, 0.125, Some(0.2165064)),
    ("kaiming_uniform(shape, a = sqrt(5))", 0.0, 0.0510310, Some(0.0883884)),
    ("kaiming_normal(shape)", 0.0, 0.125, None),
    ("xavier_uniform(shape)", 0.0, 0.0721688, Some(0.125)),
    ("xavier_uniform(shape, gain = gain(\"tanh\"))", 0.0, 0.1202813, Some(0.2083334)),
    ("xavier_normal(shape)", 0.0, 0.0721688, None),
    ("lecun_normal(shape)", 0.0, 0.0883884, None),
    ("orthogonal(shape)", 0.0, 0.0625, None),
    ("sparse(shape, sparsity = 0.75, std = 0.4)", 0.0, 0.2, None),
];

#[test]
fn initialisers_have_the_spread_that_is_theirs() {
    for (call, mean, deviation, bound) in INITIALISERS {
        let text = format!("const shape = [256, 128]\nmodel M(x: []) -> [256, 128] = x + {call}\n");
        let program = nnc::compile_text("init.nn", &text).build().unwrap_or_else(|e| panic!("{e}"));
        let mut session = program.load(&[] as &[&Path], None).unwrap().session(1);
        let values = session.call("forward", &[Tensor::new(&[], &[0f32])]).unwrap()[0].to_f64();
        let n = values.len() as f64;
        let got = values.iter().sum::<f64>() / n;
        let spread = (values.iter().map(|x| (x - got).powi(2)).sum::<f64>() / n).sqrt();
        // 32,768 draws: four standard deviations of the mean, and of the spread.
        assert!((got - mean).abs() < 4.0 * deviation / n.sqrt(), "{call}: mean {got}");
        assert!((spread / deviation - 1.0).abs() < 0.02, "{call}: deviation {spread}, expected {deviation}");
        let most = values.iter().fold(0f64, |m, x| m.max(x.abs()));
        if let Some(bound) = bound {
            assert!(most <= bound * 1.000001 && most > 0.99 * bound, "{call}: largest {most}, bound {bound}");
        }
        if call.starts_with("orthogonal") {
            let column = |j: usize| values.iter().skip(j).step_by(128);
            let product = |i, j| column(i).zip(column(j)).map(|(a, b)| a * b).sum::<f64>();
            assert!((product(3, 3) - 1.0).abs() < 1e-3 && product(3, 77).abs() < 1e-3);
        }
        if call.starts_with("sparse") {
            for j in 0..128 {
                assert_eq!(values.iter().skip(j).step_by(128).filter(|x| **x == 0.0).count(), 192, "column {j}");
            }
        }
    }
}

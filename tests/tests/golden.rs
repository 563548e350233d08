//! Published weights against results that another implementation computed in f64.

use nnc::{Elem, Tensor, npy};
use std::path::Path;

#[test]
fn minilm() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let weights = tests.join("../.cache/minilm/model.safetensors");
    if !weights.exists() {
        eprintln!("skipped: {} is not there; scripts/fetch-minilm.sh fetches it", weights.display());
        return;
    }
    let golden = |name: &str| npy::read(&tests.join("golden/minilm").join(name)).unwrap();
    let (ids, expected) = (golden("ids.npy"), golden("hidden.npy"));
    let inputs = [
        ids.clone(),
        Tensor::zeros(Elem::I32, &ids.shape),
        Tensor::from_f64(Elem::Bool, &ids.shape, vec![1.0; ids.len()]),
    ];
    for isa in nnc::Isa::ALL.into_iter().filter(|isa| *isa <= nnc::Isa::host()) {
        let compiler = nnc::compile(tests.join("../dsl-examples/bert_encoder.nn")).unwrap().isa(isa);
        let model = compiler.define("dim", 384).define("layers", 6).build().unwrap();
        let program = model.load(&[&weights], Some("hub")).unwrap();
        let hidden = program.session(1).call("forward", &inputs).unwrap().swap_remove(0);
        assert_eq!(hidden.shape, expected.shape);
        let off = hidden.to_f64().iter().zip(expected.to_f64()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-5, "{isa}: off by {off:.1e}");
    }
}

/// The samples of a WAV file of 16 bits and one channel, from -1 to 1.
fn samples(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let start = bytes.windows(4).position(|name| name == b"data").expect("a WAV file has data") + 8;
    bytes[start..].chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]]) as f32 / 32768.0).collect()
}

/// Sentences as a stream, each in a session of its own, against ONNX Runtime: with the weights of the safetensors file, and
/// with those of the ONNX file, which are of another training.
#[test]
fn silero_vad() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = tests.join("../.cache/silero");
    let sets = [
        ("published", "silero_vad_16k.safetensors", None, "scripts/fetch-silero.sh fetches it"),
        ("onnx", "onnx.safetensors", Some("onnx"), "scripts/golden-silero.py writes it"),
    ];
    for (set, weights, rules, help) in sets {
        let weights = fetched.join(weights);
        if !weights.exists() {
            eprintln!("skipped: {} is not there; {help}", weights.display());
            continue;
        }
        for isa in nnc::Isa::ALL.into_iter().filter(|isa| *isa <= nnc::Isa::host()) {
            let model = nnc::compile(tests.join("../dsl-examples/silero_vad.nn")).unwrap().isa(isa).build().unwrap();
            let program = model.load(&[&weights], rules).unwrap();
            for sentence in ["0870", "0880", "0890", "0920", "0930"] {
                let expected = npy::read(&tests.join(format!("golden/silero/{set}/{sentence}.npy"))).unwrap().to_f64();
                let mut session = program.session(1);
                let mut likely = vec![];
                for part in samples(&fetched.join(format!("{sentence}.wav"))).chunks(512) {
                    let filled: Vec<f32> = part.iter().copied().chain(std::iter::repeat(0.0)).take(512).collect();
                    likely.push(session.call("forward", &[Tensor::new(&[1, 512], &filled)]).unwrap()[0].to_f64()[0]);
                }
                assert_eq!(likely.len(), expected.len(), "{sentence}");
                let off = likely.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off < 1e-4, "{set} {isa} {sentence}: off by {off:.1e}");
            }
        }
    }
}

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

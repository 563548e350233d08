//! Compiles the model and its weights into the file that `src/lib.rs` includes.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let examples = Path::new("../../dsl-examples");
    let (source, weights) = (examples.join("digits.nn"), examples.join("data/digits.safetensors"));
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed={}", weights.display());
    // Code for all machines of the target, whatever the one that builds has.
    let model = nnc::compile(&source)?.isa(nnc::Isa::Baseline).build()?;
    let out = Path::new(&std::env::var("OUT_DIR")?).join("digits.nnc");
    Ok(model.load(&[weights], None)?.save(out)?)
}

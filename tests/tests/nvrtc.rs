//! NVIDIA's own compiler takes the kernels of every operator case, for two architectures, and keeps all values in registers.
//! It needs no GPU; where it is not installed this is skipped.

use nnc::{Arch, Function, Nvrtc, Target};
use tests::case::{Case, Outcome, failures, program};

#[test]
fn kernels_of_operators() {
    let nvrtc = match Nvrtc::open() {
        Ok(nvrtc) => nvrtc,
        Err(e) => return eprintln!("skipped: {e}"),
    };
    let archs: Vec<Arch> = ["sm_80", "sm_90a"].map(|a| a.parse().expect("an architecture")).into();
    let check = |case: &Case| -> Outcome {
        if case.skip("eval").or(case.skip("compiled")).is_some() {
            return Ok(());
        }
        let model = program(case, Target::Cuda(vec![]))?;
        for code in model.compiled.iter().flat_map(|c| &c.lowered.kernels).filter_map(|k| k.code()) {
            let Function::Cuda(source) = code else { continue };
            for arch in &archs {
                let cubin = nvrtc.compile(&source.text, *arch).map_err(|e| format!("{e}\n{}", source.text))?;
                let spilled = cubin.log.lines().find(|l| l.contains("spill") && !l.contains(" 0 bytes spill stores"));
                if let Some(line) = spilled {
                    return Err(format!("{arch}: {line}\n{}", source.text));
                }
            }
        }
        Ok(())
    };
    let failures = failures(&check);
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

//! On a machine with a GPU: the kernels of every operator case and of whole models, against references in f64. One JSON
//! object a line; ends with 1 if something is wrong.

use serde_json::{Value, json};
use std::time::Instant;
use tests::case::{Case, compiled, failures};
use tests::models;

fn main() {
    let gpu = nnc::Gpu::open().and_then(|gpu| Ok((gpu.name()?, gpu.arch()?, gpu.memory()?)));
    let (name, arch, memory) = gpu.unwrap_or_else(|e| fail(&e.to_string()));
    let nvrtc = nnc::Nvrtc::open().unwrap_or_else(|e| fail(&e.to_string()));
    print(json!({"gpu": name, "arch": arch.to_string(), "memory": memory, "nvrtc": nvrtc.name()}));
    let target = nnc::Target::Cuda(vec![arch]);
    let start = Instant::now();
    let check = |case: &Case| {
        if case.skip("eval").is_some() {
            return Ok(());
        }
        let results = case.op().eval(&case.operands, &|n| case.size(n)).map_err(|e| format!("eval: {e}"))?;
        match case.skip("compiled") {
            None => compiled(case, &results, target.clone()),
            Some(_) => Ok(()),
        }
    };
    let wrong = failures(&check);
    print(json!({"stage": "operators", "seconds": start.elapsed().as_secs_f64(), "wrong": wrong}));
    let mut right = wrong.is_empty();
    std::panic::set_hook(Box::new(|_| {}));
    for case in models::ALL {
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(|| case.check_on(&target, &[1]));
        let wrong = outcome.err().map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default()
        });
        right &= wrong.is_none();
        print(json!({"stage": case.name, "seconds": start.elapsed().as_secs_f64(), "wrong": wrong}));
    }
    std::process::exit(!right as i32);
}

fn print(line: Value) {
    println!("{line}");
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1)
}

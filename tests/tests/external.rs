//! Code from elsewhere: C that is compiled, called by its signature, carried in the file of a program, or refused.

use nnc::{Program, Tensor};
use std::path::Path;

/// Whether this machine has a C compiler; says so if not.
fn compiles() -> bool {
    let there = std::process::Command::new("cc").arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: this machine has no C compiler");
    }
    there
}

fn results(program: &Program, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let results = program.session(2).call("forward", inputs).unwrap_or_else(|e| panic!("{e}"));
    results.iter().map(Tensor::to_f64).collect()
}

#[test]
fn tokens_of_a_nucleus() {
    if !compiles() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl-examples/custom_kernel.nn");
    let folder = tempfile::tempdir().unwrap();
    let rows = [0.1f32, 0.2, 0.6, 0.1, 0.97, 0.01, 0.01, 0.01, 0.25, 0.25, 0.25, 0.25].map(f32::ln);
    let logits = Tensor::new(&[3, 4], &rows);
    for isa in nnc::Isa::ALL.into_iter().filter(|isa| *isa <= nnc::Isa::host()) {
        let compiler = || nnc::compile(&path).unwrap().model("Nucleus").define("p", 0.75).isa(isa);
        let program = compiler().build().unwrap().load(&[] as &[&str], None).unwrap();
        let expected = [vec![1.0, 0.0, 2.0], vec![2.0, 1.0, 4.0]];
        assert_eq!(results(&program, &[logits.clone()]), expected, "{isa}");
        let linked = compiler().jit().build().unwrap().load(&[] as &[&str], None).unwrap();
        assert_eq!(results(&linked, &[logits.clone()]), expected, "{isa}, by cranelift-jit");
        let file = folder.path().join("nucleus.nnc");
        program.save(&file).unwrap();
        assert_eq!(results(&Program::open(&file).unwrap(), &[logits.clone()]), expected, "{isa}, from a file");
    }
}

/// Addresses, then sizes as they are first named, groups as one number, then integers, then floats.
#[test]
fn arguments_in_order() {
    if !compiles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let code = "#include <stdint.h>
void f(const double *x, const int8_t *y, double *out, int64_t n, int64_t s, int64_t i, int64_t b, double p, double q) {
    double all[] = {x[n * s - 1], y[0], n, s, i, b, p, q};
    for (int64_t k = 0; k < 8; k++) out[k] = all[k];
}
";
    let model =
        "extern kernel f(x: f64[N, ..S], i: int, p: float, y: i8[], b: bool, q: float) -> f64[8] = (cpu = \"f.c\")
model M(x: f64[A, 3, B], y: i8[]) -> (out: f64[8]) = f(x, -7, 0.5, y, true, 2.5)
";
    std::fs::write(folder.path().join("f.c"), code).unwrap();
    std::fs::write(folder.path().join("m.nn"), model).unwrap();
    let program = nnc::compile(folder.path().join("m.nn")).unwrap().build().unwrap_or_else(|e| panic!("{e}"));
    let program = program.load(&[] as &[&str], None).unwrap();
    let x: Vec<f64> = (0..24).map(f64::from).collect();
    let got = results(&program, &[Tensor::new(&[2, 3, 4], &x), Tensor::new(&[], &[-3i8])]);
    assert_eq!(got, [[23.0, -3.0, 2.0, 12.0, -7.0, 1.0, 0.5, 2.5]]);
}

/// Two libraries at once, with functions of one name.
#[test]
fn libraries_side_by_side() {
    if !compiles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = "extern kernel f(x: [N]) -> [N] = (cpu = \"f.c\")\nmodel M(x: [N]) -> (y: [N]) = f(x)\n";
    std::fs::write(folder.path().join("m.nn"), model).unwrap();
    let times = |n: usize| {
        let code =
            format!("void f(const float *x, float *y, long n) {{ for (long i = 0; i < n; i++) y[i] = {n} * x[i]; }}");
        std::fs::write(folder.path().join("f.c"), code).unwrap();
        let model = nnc::compile(folder.path().join("m.nn")).unwrap().build().unwrap_or_else(|e| panic!("{e}"));
        model.load(&[] as &[&str], None).unwrap()
    };
    let programs: Vec<Program> = (1..5).map(times).collect();
    for (n, program) in (1..).zip(&programs) {
        assert_eq!(results(program, &[Tensor::new(&[2], &[1f32, 10.0])]), [[n as f64, 10.0 * n as f64]]);
    }
}

#[test]
fn code_that_is_not_there() {
    if !compiles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("other.c", "void other(void) {}");
    write("wrong.c", "void f( {}");
    write("text.so", "no library");
    let message = |binding: &str| {
        let text = format!("extern kernel f(x: [N]) -> [N]{binding}\nmodel M(x: [N]) -> (y: [N]) = f(x)\n");
        write("m.nn", &text);
        let error = nnc::compile(folder.path().join("m.nn")).unwrap().build().map(|_| ()).unwrap_err();
        // What the compiler and the loader say after the first line is theirs.
        let text = error.to_string().replace(&folder.path().display().to_string(), "FOLDER");
        let lines = if matches!(error, nnc::Error::Native(_)) { 1 } else { usize::MAX };
        text.lines()
            .take(lines)
            .map(|line| line.split(": /proc").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let bindings = [
        "",
        " = \"f.c\"",
        " = (cuda = \"f.cu\")",
        " = (cpu = \"none.c\")",
        " = (cpu = \"other.c\")",
        " = (cpu = \"wrong.c\")",
        " = (cpu = \"text.so\")",
    ];
    insta::assert_snapshot!(bindings.map(message).join("\n\n"));
}

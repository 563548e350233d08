//! What a hostile model may cost: time, memory and the size of numbers are bounded, and the message says by what.

use diag::SourceMap;

/// The first line of the first mistake.
fn refused(text: &str) -> String {
    let mut sources = SourceMap::default();
    let id = sources.add("model.nn", text);
    let errors = dsl::elaborate_all(&mut sources, id, None, &[]).err().expect("a mistake");
    errors[0].render(&sources, false).lines().next().unwrap_or_default().to_string()
}

fn model(body: &str) -> String {
    refused(&format!("model M(x: [B, 8]) -> [B, 8] {{\n  {body}\n  x\n}}\n"))
}

const MODEL: &str = "model M(x: [B, 8]) -> [B, 8] =";

#[test]
fn work_that_doubles_with_each_level() {
    let twice = |last: &str, call: fn(usize) -> String| {
        let levels: String = (0..40).map(|i| format!("fn f{i}(x) = {}\n", call(i + 1))).collect();
        refused(&format!("{levels}fn f40(x) = {last}\n{MODEL} f0(x)\n"))
    };
    assert_eq!(
        twice("x", |i| format!("f{i}(x) + f{i}(x * 2.0)")),
        "error[E0103]: the model has more than 65536 operations"
    );
    let loops = "  n = 0\n  for i in 0..1000000 { for j in 0..1000000 { n = 1 } }";
    assert_eq!(model(loops), "error[E0103]: the model takes more than 4000000 steps to elaborate");
}

#[test]
fn numbers_and_formulas_that_grow() {
    let large = "error[E0215]: this is too large: exact numbers have 64 bits, and formulas of sizes at most 64 factors";
    assert_eq!(model("n = 10 ** 18 * 10 ** 18"), large);
    assert_eq!(model("n = B ** 60 * B ** 60"), large);
    let sizes = "model M(x: [A, B, C, D, E, F, G, H]) -> [A, B, C, D, E, F, G, H]";
    assert_eq!(refused(&format!("{sizes} {{\n  n = (A + B + C + D + E + F + G + H) ** 32\n  x\n}}")), large);
}

#[test]
fn tensors_that_no_memory_holds() {
    let memory = |text: &str| {
        let message = refused(text);
        assert!(
            message.starts_with("error[E0304]: [") && message.ends_with("] has more elements than any memory"),
            "{message}"
        );
    };
    memory("model M(x: [B, 1000000000, 1000000000]) -> [B, 1000000000, 1000000000] = relu(x)");
    memory("model M(x: [B, 8]) -> [B, 1000000000] = x |> a: Linear(1000000000) |> b: Linear(1000000000)");
    memory(&format!("{MODEL} x + sum(zeros([1000000, 1000000, 1000000]))"));
    let message = refused(&format!("{MODEL} reshape(x, [{}])", vec!["1000000000000"; 12].join(", ")));
    assert!(message.contains("more elements than any memory"), "{message}");
}

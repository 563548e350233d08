//! Whole kernels as CUDA C++, from models: reads at places from data, and a step of a scan.

fn texts(model: &str) -> String {
    let model = nnc::compile_text("model.nn", model).target(nnc::Target::Cuda(vec![])).build();
    let model = model.unwrap_or_else(|e| panic!("{e}"));
    let codes = model.compiled.iter().flat_map(|c| &c.lowered.kernels).filter_map(|k| k.code());
    codes.map(|code| nnc::cuda(code).expect("a text")).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn gather() {
    let model = "model M(ids: i64[N]) -> [N, 8] {
  param table: [100, 8] = normal()
  relu(take(table, ids))
}";
    insta::assert_snapshot!(texts(model));
}

#[test]
fn scan() {
    let model = "model M(x: [4, T, 16]) -> [4, 16] {
  scan (h = zeros([4, 16])) for now in x along 1 {
    h = tanh(now + 0.5 * h)
  }
  h
}";
    insta::assert_snapshot!(texts(model));
}

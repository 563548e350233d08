//! Several files: what one imports of another, and what is said when that fails.

use diag::SourceMap;

/// Elaborates the first of some files.
fn run(files: &[(&str, &str)]) -> Result<String, String> {
    let mut sources = SourceMap::default();
    let ids: Vec<_> = files.iter().map(|(name, text)| sources.add(*name, *text)).collect();
    match dsl::elaborate(&mut sources, ids[0], None, &[]) {
        Ok(model) => Ok(model.entries.iter().map(|e| e.signature()).collect::<Vec<_>>().join("\n")),
        Err(errors) => Err(errors.iter().map(|e| e.render(&sources, false)).collect::<Vec<_>>().join("\n\n")),
    }
}

const BLOCKS: &str = "import \"../sizes.nn\" (width)\n\
    fn relu(x: [..S]) -> [..S] = maximum(x, 1)\n\
    layer Block(out: int)(x: [B, D]) -> [B, out] = x |> fc: Linear(out) |> relu\n\
    fn twice(x: [..S]) -> [..S] = 2 * x\n\
    const wide = 2 * width\n";

#[test]
fn items_of_other_files() {
    let main = "import \"lib/blocks.nn\" as blocks\nimport \"lib/blocks.nn\" (twice)\nimport std.optim (AdamW)\n\
        model M(x: [B, 8]) -> [B, _] = x |> b: blocks.Block(blocks.wide) |> twice |> relu";
    let files = [("dir/main.nn", main), ("dir/lib/blocks.nn", BLOCKS), ("dir/sizes.nn", "const width = 3")];
    assert_eq!(run(&files).unwrap(), "forward(x: f32[B, 8]) -> (output: f32[B, 6])");
}

#[test]
fn a_cycle_of_imports_is_fine_for_items_but_not_for_constants() {
    let main = "import \"b.nn\" as b\nfn f(x: [N]) -> [N] = x + 1\nmodel M(x: [B]) -> [B] = b.g(x)";
    let b = "import \"main.nn\" as main\nfn g(x: [N]) -> [N] = main.f(x)";
    assert_eq!(run(&[("main.nn", main), ("b.nn", b)]).unwrap(), "forward(x: f32[B]) -> (output: f32[B])");
    let main = "import \"b.nn\" as b\nconst one = b.two\nmodel M(x: [B]) -> [B] = one * x";
    let b = "import \"main.nn\" as main\nconst two = main.one";
    insta::assert_snapshot!(run(&[("main.nn", main), ("b.nn", b)]).unwrap_err());
}

#[test]
fn a_thousand_files_in_a_ring() {
    let names: Vec<String> = (0..1000).map(|i| format!("f{i}.nn")).collect();
    let text = |i: usize| match i {
        0 => "import \"f1.nn\" as next\nmodel M(x: [B]) -> [B] = next.f(x)".to_string(),
        i => format!("import \"f{}.nn\" as next\nfn f(x: [B]) -> [B] = x + {i}", (i + 1) % 1000),
    };
    let texts: Vec<String> = (0..1000).map(text).collect();
    let files: Vec<(&str, &str)> = names.iter().zip(&texts).map(|(n, t)| (n.as_str(), t.as_str())).collect();
    assert!(run(&files).is_ok());
}

#[test]
fn imports_that_lead_nowhere() {
    let main = "import \"blocks.nn\" as blocks\nimport std.vision\nimport std.optim (Adamw)\n\
        import \"other.nn\" (Missing)\nmodel M(x: [B]) -> [B] = blocks.f(x)";
    insta::assert_snapshot!(run(&[("main.nn", main), ("other.nn", "const a = 1")]).unwrap_err());
}

#[test]
fn mistakes_in_other_files_are_shown_there() {
    let main = "import \"b.nn\" (F)\nmodel M(x: [B]) -> [B] = x |> f: F()";
    let b = "layer F(x: [B]) -> [B] {\n  y = x + unknown\n  z = reluu(x)\n  y + z + x\n}";
    insta::assert_snapshot!(run(&[("main.nn", main), ("b.nn", b)]).unwrap_err());
}

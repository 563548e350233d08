//! Everything that is written in the language parses.

use diag::{FileId, SourceMap};

fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "nn"));
    files.sort();
    files
}

#[test]
fn examples_and_standard_library_parse() {
    for path in files("std").into_iter().chain(files("../../dsl-examples")) {
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(errors) = dsl::parse(&text, FileId(0)) {
            let mut sources = SourceMap::default();
            sources.add(path.display().to_string(), text);
            panic!("{}", errors[0].render(&sources, false));
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_cheap() {
    let text = format!("const a = {}1{}", "(".repeat(1000), ")".repeat(1000));
    let errors = dsl::parse(&text, FileId(0)).unwrap_err();
    assert_eq!(errors[0].message, "brackets are nested more than 200 deep");
    let text = format!("const a = {}1{}", "f(".repeat(150), ")".repeat(150));
    assert!(dsl::parse(&text, FileId(0)).is_ok());
}

/// Whatever nests, with brackets or without, gets a message before it gets the stack.
#[test]
fn deep_anything_is_refused() {
    let n = 20_000;
    let deep = [
        format!("const a = {}1{}", "(".repeat(n), ")".repeat(n)),
        format!("const a = {}1{}", "[".repeat(n), "]".repeat(n)),
        format!("const a = {}1", "-".repeat(n)),
        format!("const a = {}true", "not ".repeat(n)),
        format!("const a = 1{}", " + 1".repeat(n)),
        format!("const a = 2{}", " ** 2".repeat(n)),
        format!("const a = true{}", " and true".repeat(n)),
        format!("const a = b{}", ".b".repeat(n)),
        format!("const a = {}1", "b => ".repeat(n)),
        format!("const a = \"{}\"", "{\"".repeat(n)),
        format!("fn f(x) {{ {} {{ 1 }} }}", "if x { 1 } else ".repeat(n)),
        format!("fn f(x) = {}1{}", "if x { ".repeat(n), " } else { 2 }".repeat(n)),
        format!("fn f(x) {{ {} {} }}", "for i in x { ".repeat(n), "}".repeat(n)),
        format!("fn f(x: {}int{}) = x", "list(".repeat(n), ")".repeat(n)),
        format!("const a = \"#\" + {}1{}", "(".repeat(n), ")".repeat(n)),
    ];
    for text in deep {
        let errors = dsl::parse(&text, FileId(0)).unwrap_err();
        let known = [diag::Code::TOO_DEEP, diag::Code::SYNTAX].contains(&errors[0].code);
        assert!(known, "{}: {}", &text[..40], errors[0].message);
        assert!(dsl::format(&text).is_err());
    }
    // Long is not deep.
    let long = format!("const a = [{}]\nfn f(x) {{\n{}  x\n}}", "1 + 2, ".repeat(n), "  x = x + 1\n".repeat(n));
    assert!(dsl::parse(&long, FileId(0)).is_ok());
    let rules = format!("const a = {}1", "1 + ".repeat(900));
    assert!(dsl::parse(&rules, FileId(0)).is_ok());
    assert!(dsl::parse(&format!("const a = f(x){}", " |> g".repeat(900)), FileId(0)).is_ok());
}

/// The library resolves as a whole, what no example uses included.
#[test]
fn the_standard_library_names_only_what_is_there() {
    for (name, text) in dsl::STANDARD_LIBRARY {
        let mut sources = SourceMap::default();
        let model = "\nmodel Check(x: [B]) -> [B] = x\n";
        let id = sources.add(*name, format!("{text}{model}"));
        if let Err(errors) = dsl::elaborate(&mut sources, id, None, &[]) {
            panic!("{}", errors.iter().map(|e| e.render(&sources, false)).collect::<Vec<_>>().join("\n\n"));
        }
    }
}

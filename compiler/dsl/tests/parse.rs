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

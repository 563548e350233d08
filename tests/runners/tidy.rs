//! Rules that hold over the whole repository.

use graph::ops;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a room of the repository").into()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names of the files of a folder without their ending.
fn stems(folder: &Path, ending: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = files.flatten().map(|f| f.path());
    let paths = paths.filter(|p| p.extension().is_some_and(|e| e == ending));
    paths.filter_map(|p| Some(p.file_stem()?.to_str()?.to_string())).collect()
}

fn operators() -> BTreeSet<String> {
    ops::ALL.iter().map(|info| info.name.to_string()).collect()
}

#[test]
fn every_operator_has_its_case_and_every_case_its_operator() {
    assert_eq!(stems(&root().join("tests/ops"), "case"), operators());
}

/// Files of the operators' folder that hold what several share.
const SHARED: [&str; 7] = ["mod", "attributes", "elementwise", "indexed", "order", "reduce", "window"];

#[test]
fn an_operator_is_one_file_of_its_name() {
    let folder = root().join("compiler/graph/src/ops");
    let mut files = stems(&folder, "rs");
    for shared in SHARED {
        assert!(files.remove(shared), "{shared}.rs is gone; it is no longer shared");
    }
    // A name that is a word of Rust has a `_` behind it.
    let named: BTreeSet<String> = files.iter().map(|f| f.trim_end_matches('_').to_string()).collect();
    assert_eq!(named, operators());
    for file in files {
        let text = read(&folder.join(format!("{file}.rs")));
        let name = file.trim_end_matches('_');
        assert!(text.contains(&format!("    \"{name}\" = ")), "{file}.rs does not declare `{name}`");
    }
}

/// The rooms of which a room may import, besides those that these import.
const IMPORTS: &[(&str, &[&str])] = &[
    ("compiler/diag", &[]),
    ("runtime/tensor", &[]),
    ("compiler/kernel", &["diag", "tensor"]),
    ("compiler/graph", &["kernel", "tensor", "diag"]),
    ("compiler/dsl", &["graph", "kernel", "tensor", "diag"]),
    ("compiler/passes", &["graph", "kernel", "tensor", "diag"]),
    ("compiler/lower", &["graph", "kernel", "tensor", "diag"]),
    // The form of code and the type of its functions, and the names of architectures, are the engine's, stated once.
    ("compiler/cpu", &["kernel", "engine", "tensor", "diag"]),
    ("compiler/cuda", &["kernel", "engine", "tensor"]),
    ("compiler/onnx", &["tensor"]),
    ("runtime/engine", &["tensor"]),
    ("runtime/data", &["engine", "tensor"]),
    ("runtime/train", &["data", "engine", "tensor"]),
];

/// The rooms above those of [`IMPORTS`], which may import any of them.
const ABOVE: [&str; 4] = ["compiler/driver", "compiler/cli", "tests", "benches"];

#[test]
fn rooms_import_what_the_architecture_says() {
    let root = root();
    let rooms = ["compiler", "runtime"].into_iter().flat_map(|group| {
        let folders = std::fs::read_dir(root.join(group)).expect("both folders are there").flatten();
        folders
            .filter(|f| f.path().join("Cargo.toml").exists())
            .map(move |f| format!("{group}/{}", f.file_name().to_str().expect("rooms have plain names")))
    });
    let rooms: BTreeSet<String> = rooms.collect();
    let stated = IMPORTS.iter().map(|(room, _)| *room).chain(ABOVE);
    let stated: BTreeSet<String> = stated.filter(|r| r.contains('/')).map(String::from).collect();
    assert_eq!(rooms, stated, "rooms and the table of imports differ");
    let ours: BTreeSet<&str> = IMPORTS.iter().map(|(room, _)| short(room)).chain(["nnc"]).collect();
    for (room, allowed) in IMPORTS {
        for import in dependencies(&read(&root.join(room).join("Cargo.toml"))) {
            let fine = !ours.contains(import.as_str()) || allowed.contains(&import.as_str());
            assert!(fine, "{room} imports {import}; it may import {allowed:?}");
        }
    }
}

#[test]
fn paths_that_documents_name_exist() {
    for document in ["README.md", "compiler/ARCHITECTURE.md"] {
        let text = read(&root().join(document));
        let named = text.split('`').skip(1).step_by(2).filter(|t| t.contains('/') && !t.contains([' ', '\n', '"']));
        // What a build or a script makes is not there in a clone.
        let made = |path: &str| path.starts_with("target/");
        let gone: Vec<&str> = named.filter(|path| !made(path) && !root().join(path).exists()).collect();
        assert_eq!(gone, Vec::<&str>::new(), "{document}");
    }
}

fn short(room: &str) -> &str {
    room.rsplit('/').next().unwrap_or(room)
}

/// Names under `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let after = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let lines = after.lines().take_while(|l| !l.starts_with('['));
    lines.filter_map(|l| Some(l.split_once(['.', ' ', '='])?.0.trim().to_string())).filter(|n| !n.is_empty()).collect()
}

#[test]
fn what_a_manifest_lists_is_read() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\ngraph.workspace = true\nlibc = \"0.2\"\n\n[dev-dependencies]\ninsta = \"1\"\n";
    assert_eq!(dependencies(manifest), ["graph", "libc"]);
}

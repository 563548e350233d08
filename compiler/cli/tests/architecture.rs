//! The listings of ARCHITECTURE.md and README.md are what the commands above them print.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a command of a document prints: `cat FILE` or `nnc …`.
fn printed(line: &str) -> String {
    let mut words = line.split_whitespace();
    match words.next() {
        Some("cat") => std::fs::read_to_string(root().join(words.next().unwrap())).unwrap(),
        Some("nnc") => {
            let output = Command::new(env!("CARGO_BIN_EXE_nnc")).current_dir(root()).args(words).output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        }
        _ => panic!("`{line}` is neither `cat` nor `nnc`"),
    }
}

/// The document with every listing below a `<!-- command -->` made anew.
fn renewed(document: &str) -> String {
    let mut out = String::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        out += &format!("{line}\n");
        let Some(command) = line.strip_prefix("<!-- ").and_then(|l| l.strip_suffix(" -->")) else { continue };
        assert_eq!(lines.next(), Some("```"), "a listing follows {line}");
        let listing = printed(command);
        out += &format!("```\n{}\n```\n", listing.trim_end());
        lines.by_ref().take_while(|l| *l != "```").for_each(drop);
    }
    out
}

#[test]
fn listings_are_true() {
    if nnc::Isa::host() < nnc::Isa::Avx2 {
        eprintln!("skipped: this machine has no avx2");
        return;
    }
    let path = root().join("compiler/ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let renewed = renewed(&text);
    if std::env::var_os("NNC_UPDATE").is_some() {
        std::fs::write(&path, &renewed).unwrap();
    }
    assert!(
        renewed == std::fs::read_to_string(&path).unwrap(),
        "a listing of ARCHITECTURE.md is out of date; NNC_UPDATE=1 writes it anew"
    );
}

#[test]
fn the_readme_shows_the_example_and_what_it_prints() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let model = std::fs::read_to_string(root().join("dsl-examples/digits.nn")).unwrap();
    assert!(readme.contains(&format!("```nn\n{model}```\n")), "README.md and dsl-examples/digits.nn differ");
    let prompt = "$ cargo run --release -- run ";
    let (_, rest) = readme.split_once(prompt).expect("README.md runs the example");
    let (command, rest) = rest.split_once('\n').unwrap();
    let (shown, out) = (rest.lines().next().unwrap(), printed(&format!("nnc run {command}")));
    let numbers = |line: &str| {
        let (ty, values) = line.trim().split_once(" = ").unwrap();
        let values = values.trim_matches(['[', ']']).split(", ").map(|x| x.parse().unwrap());
        (ty.to_string(), values.collect::<Vec<f64>>())
    };
    let ((shown_type, shown), (ty, got)) = (numbers(shown), numbers(&out));
    assert_eq!((shown_type, shown.len()), (ty, got.len()));
    // Other instruction sets round otherwise.
    assert!(shown.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-5), "{out}");
}

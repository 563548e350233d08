//! The formatter keeps the meaning, is idempotent, and leaves what is in order as it is.

use diag::FileId;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["std", "../../dsl-examples", "../../tests/dsl/bad", "tests/cases"];
    let all = folders.iter().flat_map(|f| std::fs::read_dir(root.join(f)).unwrap());
    let mut files: Vec<PathBuf> =
        all.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "nn")).collect();
    files.sort();
    files
}

/// The syntax tree without places.
fn tree(text: &str) -> String {
    let tree = format!("{:?}", dsl::parse(text, FileId(0)).unwrap());
    let mut out = String::new();
    let mut rest = tree.as_str();
    while let Some(at) = rest.find("Span { file") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once(" }").unwrap().1;
    }
    out + rest
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.find('#').map(|at| l[at..].trim())).collect()
}

#[test]
fn meaning_and_comments_are_kept() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let formatted = dsl::format(&text).unwrap();
        assert_eq!(tree(&text), tree(&formatted), "{}", path.display());
        assert_eq!(comments(&text), comments(&formatted), "{}", path.display());
        assert_eq!(dsl::format(&formatted).unwrap(), formatted, "{}", path.display());
    }
}

#[test]
fn library_and_examples_are_in_order() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(dsl::format(&text).unwrap(), text, "{}", path.display());
    }
}

#[test]
fn untidy_text_is_laid_out() {
    let text = include_str!("layout/untidy.nn");
    let formatted = dsl::format(text).unwrap();
    assert_eq!(dsl::format(&formatted).unwrap(), formatted);
    insta::assert_snapshot!("untidy", formatted);
}

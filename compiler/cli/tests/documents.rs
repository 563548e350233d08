//! What the tutorial and the reference show is what the command does.
//!
//! In a document, `<!-- file NAME -->` stands before a block that is a file, `<!-- nnc … -->` before one that is what a command
//! prints, and `<!-- run … -->` before one that shows a command that must succeed; `<!-- checks -->` before a model that is
//! right, `<!-- refused E0304 -->` before one that is not, and `<!-- list … -->` before a list of what there is. `NNC_UPDATE=1`
//! writes outputs anew.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `nnc` in a folder: whether it succeeds, and all that it prints. `_` stands for a space inside of quotes.
fn nnc(line: &str, folder: &Path) -> (bool, String) {
    let word = |w: &str| if w.contains('"') { w.replace('_', " ") } else { w.to_string() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_nnc"));
    let output = command.current_dir(folder).args(line.split_whitespace().map(word)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// The document as it should be, after doing all that it says in `folder`.
fn renewed(document: &str, folder: &Path) -> String {
    let mut out = String::new();
    let mut rest = document;
    while let Some((before, more)) = rest.split_once("<!-- ") {
        let (what, more) = more.split_once(" -->\n").expect("a comment ends");
        let (fence, more) = more.split_once('\n').expect("a block follows");
        let (block, more) = more.split_once("```\n").expect("the block ends");
        let block = match what.split_once(' ') {
            Some(("file", name)) => {
                std::fs::write(folder.join(name), block).unwrap();
                let tidy = nnc(&format!("fmt --check {name}"), folder);
                assert!(tidy.0, "{name} is not laid out as `nnc fmt` does it:\n{}", tidy.1);
                block.to_string()
            }
            Some(("nnc", line)) => format!("$ nnc {line}\n{}", nnc(line, folder).1.trim_end().to_string() + "\n"),
            Some(("run", line)) => {
                let (done, said) = nnc(line, folder);
                assert!(done, "nnc {line}: {said}");
                block.to_string()
            }
            None if what == "checks" => {
                std::fs::write(folder.join("checks.nn"), block).unwrap();
                let (right, said) = nnc("check checks.nn", folder);
                assert!(right, "{block}{said}");
                block.to_string()
            }
            Some(("refused", code)) => {
                std::fs::write(folder.join("refused.nn"), block).unwrap();
                let (right, said) = nnc("check refused.nn", folder);
                assert!(!right && said.starts_with(&format!("error[{code}]")), "{block}{said}");
                block.to_string()
            }
            Some(("list", kind)) => listed(kind, folder),
            _ => panic!("`{what}` is nothing that a document does"),
        };
        out += &format!("{before}<!-- {what} -->\n{fence}\n{block}```\n");
        rest = more;
    }
    out + rest
}

/// What `nnc doc` lists of operators, or of the library.
fn listed(kind: &str, folder: &Path) -> String {
    let (_, all) = nnc("doc", folder);
    let chosen = all.split("\n\n").filter(|part| part.starts_with("an operator") == (kind == "operators"));
    let lines = |part: &str| part.lines().map(|l| l.trim_end().to_string() + "\n").collect::<String>();
    let parts: Vec<String> = chosen.map(lines).collect();
    parts.join("\n").replace("an operator\n", "")
}

fn check(path: &str) {
    let path = root().join(path);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("dsl-examples/data").canonicalize().unwrap(), folder.path().join("data"))
        .unwrap();
    let text = ["compiler/ARCHITECTURE.md", "README.md"].map(|file| std::fs::read(root().join(file)).unwrap());
    std::fs::write(folder.path().join("text.txt"), text.concat()).unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    let after = renewed(&before, folder.path());
    if std::env::var_os("NNC_UPDATE").is_some() {
        std::fs::write(&path, &after).unwrap();
        return;
    }
    assert!(before == after, "{} is out of date; NNC_UPDATE=1 writes it anew", path.display());
}

#[test]
fn the_tutorial_does_what_it_says() {
    check("dsl-examples/TUTORIAL.md");
}

#[test]
fn the_reference_says_what_is_so() {
    check("compiler/dsl/REFERENCE.md");
}

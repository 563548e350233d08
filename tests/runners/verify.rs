//! Ill-formed graphs: each file of `tests/verify` is one, with `// error: …` on the guilty line.

use graph::Graph;
use std::path::Path;

#[test]
fn ill_formed_graphs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify");
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("the folder is there").flatten().collect();
    files.sort_by_key(|f| f.file_name());
    assert!(!files.is_empty());
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let text = std::fs::read_to_string(file.path()).expect("a case is text");
            check(&text).err().map(|e| format!("{}: {e}", file.file_name().display()))
        })
        .collect();
    assert!(wrong.is_empty(), "{} failures\n{}", wrong.len(), wrong.join("\n"));
}

fn check(text: &str) -> Result<(), String> {
    let stated = text.lines().enumerate().find_map(|(i, line)| Some((i + 1, line.split_once("// error: ")?.1)));
    let Some((line, message)) = stated else { return Err("no line says `// error: …`".into()) };
    let found = match Graph::parse(text) {
        Err(e) => (e.line, e.message),
        Ok(graph) => match graph.verify() {
            Ok(()) => return Err("it is well-formed".into()),
            Err(e) => {
                let before = e.span.map_or("", |s| &text[..s.start as usize]);
                (before.matches('\n').count() + 1, e.message)
            }
        },
    };
    match found == (line, message.to_string()) {
        true => Ok(()),
        false => Err(format!("expected line {line}: {message}\n    found line {}: {}", found.0, found.1)),
    }
}

//! Everything that has a name can be looked up.

use dsl::doc;

#[test]
fn everything_of_the_library_is_documented() {
    let library = doc::library();
    let silent: Vec<&str> = library.iter().filter(|d| d.text.is_empty()).map(|d| d.name.as_str()).collect();
    assert!(silent.is_empty(), "no documentation: {}", silent.join(", "));
    let mut names: Vec<&str> = library.iter().map(|d| d.name.as_str()).collect();
    names.sort();
    let twice = names.windows(2).find(|w| w[0] == w[1]);
    assert!(twice.is_none(), "{twice:?}");
    assert!(names.len() > 250);
}

#[test]
fn signatures_are_as_written() {
    let library = doc::library();
    let show = |name: &str| {
        let doc = doc::find(name, &library).unwrap();
        format!("{}\n  {}\n  ({})", doc.signature, doc.text, doc.from)
    };
    let names = ["gelu", "Linear", "attention", "cosine", "mnist", "take", "rearrange", "lstm_scan"];
    insta::assert_snapshot!(names.map(show).join("\n\n"));
    assert_eq!(doc::find("Lineer", &library), Err(Some("Linear")));
}

#[test]
fn items_of_a_file() {
    let text = "## Three widths.\nconst width = 3\n\n## Two ways in.\nmodel M(n: int = 2) where n > 1 {\n  fc = Linear(n)\n\
                \n  entry one(x: [B, 8]) -> [B, n] = fc(x)\n  entry two(x: [B, 8]) -> [B, n] {\n    fc(2 * x)\n  }\n}\n";
    let docs = doc::file("model.nn", text).unwrap();
    let shown: Vec<String> = docs.iter().map(|d| format!("{}\n  {}", d.signature, d.text)).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

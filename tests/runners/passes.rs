//! Passes: each file of `tests/passes/PASS` is a graph, what the pass makes of it is the snapshot beside it.

use graph::Graph;
use passes::{Cx, PIPELINE};

#[test]
fn passes() {
    insta::glob!("..", "passes/*/*.graph", |path| {
        let folder = path.parent().expect("a file lies in a folder");
        let name = folder.file_name().and_then(|n| n.to_str()).expect("folders have plain names");
        let pass = PIPELINE.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no pass is called {name}"));
        let text = std::fs::read_to_string(path).expect("a case is text");
        let mut graph = Graph::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        graph.verify().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        pass.apply(&mut graph, &mut Cx::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        graph.remove_dead();
        graph
            .verify()
            .and_then(|()| Ok(graph.verify_text()))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .unwrap();
        let case = path.file_stem().and_then(|n| n.to_str()).expect("files have plain names");
        insta::with_settings!({
            snapshot_path => folder, snapshot_suffix => "", prepend_module_to_snapshot => false, omit_expression => true,
        }, {
            insta::assert_snapshot!(case, graph.to_string());
        });
    });
}

//! Small models and the graphs they become: one idea for each file of `cases`.

use diag::SourceMap;

#[test]
fn cases() {
    insta::glob!("cases/*.nn", |path| {
        let mut sources = SourceMap::default();
        let id = sources.add("model.nn", std::fs::read_to_string(path).unwrap());
        let text = match dsl::elaborate(&mut sources, id, None, &[]) {
            Ok(model) => {
                let graphs = model.entries.iter().map(|e| match e.graph.verify() {
                    Ok(()) => e.graph.to_string(),
                    Err(error) => panic!("{}: {error}", path.display()),
                });
                graphs.collect::<Vec<_>>().join("\n")
            }
            Err(errors) => errors[0].render(&sources, false),
        };
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().unwrap());
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!("graph", text));
    });
}

//! Wrong programs and what is said about them: one mistake for each file of `tests/dsl/bad`.

use diag::SourceMap;

#[test]
fn mistakes_are_explained() {
    insta::glob!("../../../tests/dsl/bad", "*.nn", |path| {
        let folder = path.parent().unwrap().to_path_buf();
        let mut sources = SourceMap::default();
        let id = sources.add("model.nn", std::fs::read_to_string(path).unwrap());
        let message = match dsl::elaborate_all(&mut sources, id, None, &[]) {
            Ok(_) => "accepted".to_string(),
            Err(errors) => errors.iter().map(|e| e.render(&sources, false)).collect::<Vec<_>>().join("\n\n"),
        };
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("message", message));
    });
}

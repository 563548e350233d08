//! The page of every code shows a file with that very mistake.

use diag::SourceMap;

#[test]
fn examples_make_their_mistake() {
    for page in diag::PAGES {
        let mut sources = SourceMap::default();
        let id = sources.add("model.nn", page.example);
        let codes: Vec<diag::Code> = match dsl::elaborate_all(&mut sources, id, None, &[]) {
            Ok(_) => vec![],
            Err(errors) => errors.iter().map(|e| e.code).collect(),
        };
        assert_eq!(codes, [page.code], "{}", page.example);
    }
}

//! Diagnostics as text, by `annotate-snippets`.

use crate::{Diagnostic, SourceMap, Span};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, colours: bool) -> String {
    let range = |span: Span| {
        let len = sources.text(span.file).len();
        (span.start as usize).min(len)..(span.end as usize).min(len)
    };
    let primary = &diagnostic.primary;
    let file = primary.span.file;
    let mut snippet = Snippet::source(sources.text(file)).path(sources.name(file)).fold(true);
    let annotation = AnnotationKind::Primary.span(range(primary.span));
    snippet = snippet.annotation(match primary.text.is_empty() {
        true => annotation,
        false => annotation.label(primary.text.as_str()),
    });
    for other in diagnostic.others.iter().filter(|o| o.span.file == file) {
        snippet = snippet.annotation(AnnotationKind::Context.span(range(other.span)).label(other.text.as_str()));
    }
    let code = diagnostic.code.to_string();
    let mut group = Level::ERROR.primary_title(diagnostic.message.as_str()).id(code.as_str()).element(snippet);
    for other in diagnostic.others.iter().filter(|o| o.span.file != file) {
        group = group.element(Level::NOTE.message(format!("{}: {}", sources.place(other.span), other.text)));
    }
    for (span, what) in &diagnostic.uses {
        group = group.element(Level::NOTE.message(format!("{what} at {}", sources.place(*span))));
    }
    for help in &diagnostic.helps {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

//! The one way to lay out a file.
//!
//! Works on tokens and lines, comments among them: the author's line breaks stay, spaces and indentation are set anew,
//! and what the author aligned with a neighbouring line stays aligned. Lines that are too long are broken.

use diag::{Diagnostic, FileId};

/// Columns of a line, at most, where it can be broken.
const WIDTH: usize = 120;

/// Spaces of one level.
const STEP: usize = 2;

/// The text in its one layout. Text that does not parse is refused.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    crate::parse(text, FileId::default())?;
    let mut whole = text.to_string();
    // A line that was broken can move a brace and break again.
    for _ in 0..PASSES {
        let next = pass(&whole);
        if next == whole {
            break;
        }
        whole = next;
    }
    Ok(whole)
}

/// Passes until nothing changes, at most.
const PASSES: usize = 8;

fn pass(text: &str) -> String {
    // A backslash at the end of a line joins it with the next.
    let text = text.replace("\r\n", "\n").replace("\\\n", " ");
    let mut layout = Layout { lines: sort_imports(settle_braces(lines(&text))) };
    layout.run();
    let whole = layout.text();
    let broken = layout.broken();
    // Not every comma may be followed by a new line; where one was, the long line stays.
    if broken == whole || crate::parse(&broken, FileId::default()).is_ok() { broken } else { whole }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Number,
    Str,
    Open,
    Close,
    Sign,
    Comment,
}

#[derive(Clone, Debug)]
struct Token<'t> {
    kind: Kind,
    text: &'t str,
    /// Column in the source, and spaces before it there.
    column: usize,
    gap: usize,
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        self.text == text && self.kind != Kind::Str
    }

    /// Whether a value may end with it.
    fn ends_value(&self) -> bool {
        match self.kind {
            Kind::Word => !KEYWORDS.contains(&self.text),
            Kind::Number | Kind::Str | Kind::Close => true,
            Kind::Sign => matches!(self.text, "?" | "..."),
            Kind::Open | Kind::Comment => false,
        }
    }

    /// Whether a line that ends with it goes on in the next.
    fn continues(&self) -> bool {
        self.kind == Kind::Sign && !matches!(self.text, "?" | "..." | ":" | ";" | "..")
            || matches!(self.text, "and" | "or" | "not" | "where") && self.kind == Kind::Word
    }
}

/// Words after which a bracket opens a value, not a call.
const KEYWORDS: [&str; 10] = ["for", "in", "if", "else", "scan", "and", "or", "not", "along", "as"];

/// Words that start something with a header.
const HEADERS: [&str; 8] = ["fn", "layer", "model", "kernel", "extern", "entry", "step", "train"];

/// Signs, longest first.
const SIGNS: [&str; 35] = [
    "...", "|>", "=>", "->", ":=", "+=", "-=", "*=", "/=", "==", "!=", "<=", ">=", "**", "//", "..", "+", "-", "*",
    "/", "%", "@", "=", "<", ">", ",", ":", ";", ".", "?", "&", "|", "!", "\\", "$",
];

#[derive(Clone, Debug, Default)]
struct Line<'t> {
    tokens: Vec<Token<'t>>,
    /// A blank line stands before it.
    blank: bool,
    indent: usize,
    /// Column of each token in the new layout.
    columns: Vec<usize>,
}

impl Line<'_> {
    fn first(&self) -> &str {
        self.tokens.first().map_or("", |t| t.text)
    }

    /// Whether something with a header starts here.
    fn starts_header(&self) -> bool {
        let next = self.tokens.get(1);
        HEADERS.contains(&self.first())
            && next.is_some_and(|t| t.kind == Kind::Word || self.first() == "step" && t.is("("))
    }

    fn starts_item(&self) -> bool {
        self.starts_header() || ITEMS.contains(&self.first()) || self.first() == "@"
    }

    fn is_comment(&self) -> bool {
        self.tokens.first().is_some_and(|t| t.kind == Kind::Comment)
    }

    /// The last token that is no comment.
    fn last(&self) -> Option<&Token<'_>> {
        self.tokens.iter().rev().find(|t| t.kind != Kind::Comment)
    }

    fn width(&self) -> usize {
        match (self.tokens.last(), self.columns.last()) {
            (Some(t), Some(c)) => c + t.text.chars().count(),
            _ => 0,
        }
    }
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line> = vec![];
    let mut blank = false;
    for source in text.lines() {
        let mut tokens = tokens(source);
        if tokens.last().is_some_and(|t| t.is(";")) {
            tokens.pop();
        }
        if tokens.is_empty() {
            blank |= source.trim().is_empty();
            continue;
        }
        let mut line = Line { blank: std::mem::take(&mut blank), ..Line::default() };
        let mut braces = 0i32;
        for token in tokens {
            braces += token.is("{") as i32 - token.is("}") as i32;
            if token.is(";") && braces <= 0 {
                lines.push(std::mem::take(&mut line));
                continue;
            }
            line.tokens.push(token);
        }
        lines.push(line);
    }
    if let Some(first) = lines.first_mut() {
        first.blank = false;
    }
    lines.retain(|l| !l.tokens.is_empty());
    lines
}

fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token> = vec![];
    let mut at = 0;
    let mut gap = 0;
    while let Some(c) = line[at..].chars().next() {
        if c.is_whitespace() {
            gap += 1;
            at += c.len_utf8();
            continue;
        }
        let rest = &line[at..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let (kind, len) = if c == '#' {
            (Kind::Comment, rest.trim_end().len())
        } else if c == '"' {
            (Kind::Str, string_length(rest))
        } else if c.is_ascii_digit() {
            (Kind::Number, number_length(rest))
        } else if is_word(c) {
            (Kind::Word, rest.find(|c| !is_word(c)).unwrap_or(rest.len()))
        } else if "([{".contains(c) {
            (Kind::Open, 1)
        } else if ")]}".contains(c) {
            (Kind::Close, 1)
        } else {
            (Kind::Sign, SIGNS.iter().find(|s| rest.starts_with(**s)).map_or(c.len_utf8(), |s| s.len()))
        };
        let column = line[..at].chars().count();
        tokens.push(Token { kind, text: &rest[..len], column, gap });
        at += len;
        gap = 0;
    }
    tokens
}

/// Holes of a string may hold strings.
fn string_length(text: &str) -> usize {
    let mut holes = 0;
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '{' => holes += 1,
            '}' => holes -= (holes > 0) as i32,
            '"' if holes == 0 => return i + 1,
            _ => {}
        }
    }
    text.len()
}

fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(|b| b.is_ascii_digit());
    let mut end = 0;
    let mut float = false;
    while let Some(b) = bytes.get(end) {
        match b {
            b'0'..=b'9' | b'_' => {}
            b'.' if digit(end + 1) && !float => float = true,
            b'e' | b'E' if digit(end + 1) || (matches!(bytes.get(end + 1), Some(b'+' | b'-')) && digit(end + 2)) => {
                end += 1;
            }
            b if b.is_ascii_alphanumeric() => {}
            _ => break,
        }
        end += 1;
    }
    end
}

/// A brace stands at the end of its header, alone if the header takes several lines.
fn settle_braces(lines: Vec<Line>) -> Vec<Line> {
    let mut out: Vec<Line> = vec![];
    let mut header_lines = 0;
    for mut line in lines {
        let starts = line.starts_header();
        if starts {
            header_lines = 0;
        }
        let in_header = starts || header_lines > 0;
        header_lines += in_header as usize;
        if !in_header || line.is_comment() {
            out.push(line);
            continue;
        }
        let alone = line.first() == "{";
        let opens = line.last().is_some_and(|t| t.is("{"));
        let closed_before = out.last().is_some_and(|l| l.tokens.last().is_some_and(|t| t.kind != Kind::Comment));
        if alone && header_lines == 2 && closed_before {
            let last = out.last_mut().expect("a header has a line");
            last.tokens.append(&mut line.tokens);
            header_lines = 0;
            continue;
        }
        let continued = matches!(line.first(), "(" | "->" | "where");
        if opens && !alone && continued && header_lines > 1 {
            let at = line.tokens.iter().rposition(|t| t.is("{")).expect("it was found above");
            let brace = line.tokens.split_off(at);
            out.push(line);
            out.push(Line { tokens: brace, ..Line::default() });
            header_lines = 0;
            continue;
        }
        let body = line.tokens.iter().any(|t| t.is("{")) || line.last().is_some_and(|t| t.is("="));
        if body || ends_header(&line) {
            header_lines = 0;
        }
        out.push(line);
    }
    out
}

/// Whether the body of a header starts on this line: a `=` outside brackets.
fn ends_header(line: &Line) -> bool {
    let mut depth = 0i32;
    line.tokens.iter().any(|t| {
        depth += (t.kind == Kind::Open) as i32 - (t.kind == Kind::Close) as i32;
        depth == 0 && t.is("=")
    })
}

/// Sorts neighbouring imports.
fn sort_imports(mut lines: Vec<Line>) -> Vec<Line> {
    fn key<'t>(line: &Line<'t>) -> Vec<&'t str> {
        line.tokens.iter().map(|t| t.text).collect()
    }
    let mut start = 0;
    while start < lines.len() {
        let run = lines[start..].iter().take_while(|l| l.first() == "import").count();
        let blank = lines[start].blank;
        lines[start..start + run].sort_by(|a, b| key(a).cmp(&key(b)));
        lines[start..start + run].iter_mut().enumerate().for_each(|(i, l)| l.blank = i == 0 && blank);
        start += run.max(1);
    }
    lines
}

/// An open bracket.
#[derive(Clone, Debug)]
struct Bracket {
    brace: bool,
    /// Where lines inside start.
    inner: usize,
    /// Where the closing bracket starts if it is first on its line.
    outer: usize,
    /// The statement that was going on outside.
    statement: Statement,
}

/// The statement being laid out.
#[derive(Clone, Debug, Default)]
struct Statement {
    indent: usize,
    header: bool,
    /// Column of the first `|>` of its chain.
    pipe: Option<usize>,
    /// The last token of the line before leaves it open.
    open: bool,
    started: bool,
}

#[derive(Clone, Debug)]
struct Layout<'t> {
    lines: Vec<Line<'t>>,
}

impl Layout<'_> {
    fn run(&mut self) {
        self.blank_lines();
        self.trailing_commas();
        self.place();
        self.align();
        // Where the first `|>` of a chain was moved by alignment, the others follow.
        self.place_again();
    }

    /// One blank line around items of several lines, none at the start and end of a block.
    fn blank_lines(&mut self) {
        let mut depth = 0i32;
        // First line of each item, comments above it included, and its number of lines without them.
        let mut items: Vec<(usize, usize)> = vec![];
        let mut above = false;
        for (i, line) in self.lines.iter().enumerate() {
            let attached = above && !line.blank;
            let starts = depth == 0 && (line.starts_item() || line.is_comment());
            if starts && !attached {
                items.push((i, 0));
            }
            if let (false, Some(item)) = (line.is_comment(), items.last_mut()) {
                item.1 += 1;
            }
            for token in &line.tokens {
                depth += (token.kind == Kind::Open) as i32 - (token.kind == Kind::Close) as i32;
            }
            above = depth == 0 && (line.is_comment() || line.first() == "@");
        }
        for pair in items.windows(2) {
            self.lines[pair[1].0].blank |= pair[0].1 > 1 || pair[1].1 > 1;
        }
        for i in 1..self.lines.len() {
            let after_open =
                self.lines[i - 1].last().is_some_and(|t| t.kind == Kind::Open) && !self.lines[i - 1].is_comment();
            let before_close = self.lines[i].tokens[0].kind == Kind::Close;
            if after_open || before_close {
                self.lines[i].blank = false;
            }
        }
    }

    /// A list has a comma after its last item if its bracket closes on a line of its own.
    fn trailing_commas(&mut self) {
        let mut stack: Vec<(bool, usize)> = vec![];
        for i in 0..self.lines.len() {
            let mut remove = vec![];
            for at in 0..self.lines[i].tokens.len() {
                let token = &self.lines[i].tokens[at];
                match token.kind {
                    Kind::Open => stack.push((token.is("{"), 0)),
                    Kind::Sign if token.is(",") => {
                        if let Some(top) = stack.last_mut() {
                            top.1 += 1;
                        }
                    }
                    Kind::Close => {
                        let Some((brace, commas)) = stack.pop() else { continue };
                        if brace || commas == 0 {
                            continue;
                        }
                        if at > 0 {
                            let comma = self.lines[i].tokens[at - 1].is(",");
                            // `(a,)` is a tuple of one.
                            if comma && commas > 1 {
                                remove.push(at - 1);
                            }
                        } else if i > 0 {
                            let above = &mut self.lines[i - 1];
                            let last = above.tokens.iter().rposition(|t| t.kind != Kind::Comment);
                            if let Some(last) = last
                                && !above.tokens[last].is(",")
                            {
                                let comma = Token { kind: Kind::Sign, text: ",", column: 0, gap: 0 };
                                above.tokens.insert(last + 1, comma);
                            }
                        }
                    }
                    _ => {}
                }
            }
            remove.into_iter().rev().for_each(|at| drop(self.lines[i].tokens.remove(at)));
        }
    }

    /// Indentation and columns without alignment.
    fn place(&mut self) {
        for line in &mut self.lines {
            line.columns.clear();
        }
        self.place_again();
    }

    /// Indentation of every line; columns of lines that have none, a shift for those that have.
    fn place_again(&mut self) {
        let mut brackets: Vec<Bracket> = vec![];
        let mut statement = Statement::default();
        for i in 0..self.lines.len() {
            let line = &self.lines[i];
            let inside_list = brackets.last().is_some_and(|b| !b.brace);
            let goes_on = inside_list || statement.started && (statement.open || continues(line, statement.header));
            if !goes_on && !line.is_comment() {
                let base = brackets.last().map_or(0, |b| b.inner);
                statement =
                    Statement { indent: base, header: line.starts_header(), started: true, ..Statement::default() };
            }
            let indent = indent_of(line, &brackets, &statement, goes_on);
            let columns = match line.columns.is_empty() {
                true => spaced(line, indent),
                false => line.columns.iter().map(|c| c + indent - line.indent.min(c + indent)).collect(),
            };
            let line = &mut self.lines[i];
            line.indent = indent;
            line.columns = columns;
            let line = &self.lines[i];
            for (at, token) in line.tokens.iter().enumerate() {
                let column = line.columns[at];
                match token.kind {
                    Kind::Open => {
                        let last = line.tokens[at + 1..].iter().all(|t| t.kind == Kind::Comment);
                        let brace = token.is("{");
                        let inner = match brace || last {
                            true => statement.indent + STEP,
                            false => column + 1,
                        };
                        let outer = statement.indent;
                        if brace {
                            statement.header = false;
                        }
                        let inside = Statement { indent: statement.indent, started: false, ..Statement::default() };
                        let outside = std::mem::replace(&mut statement, inside);
                        brackets.push(Bracket { brace, inner, outer, statement: outside });
                        statement.started = !brace;
                    }
                    Kind::Close => {
                        if let Some(bracket) = brackets.pop() {
                            statement = bracket.statement;
                        }
                    }
                    Kind::Sign if token.is("|>") => {
                        statement.pipe.get_or_insert(column);
                    }
                    Kind::Sign if token.is("=") || token.is(":=") || token.is("=>") || token.is(",") => {
                        statement.pipe = None;
                        if token.is("=") {
                            statement.header = false;
                        }
                    }
                    _ => {}
                }
            }
            if !line.is_comment() {
                statement.open = line.last().is_some_and(Token::continues);
            }
        }
    }

    /// A token that the author put under or over one of a neighbouring line, with more than one space before one of
    /// them, stays there.
    fn align(&mut self) {
        let mut done: Vec<Vec<bool>> = self.lines.iter().map(|l| vec![false; l.tokens.len()]).collect();
        let anchor = |t: &Token| t.column + anchor_offset(t);
        let mut order: Vec<(usize, usize, usize)> = vec![];
        for (i, line) in self.lines.iter().enumerate() {
            order.extend((1..line.tokens.len()).map(|at| (anchor(&line.tokens[at]), i, at)));
        }
        order.sort();
        for (column, i, at) in order {
            if done[i][at] {
                continue;
            }
            let mut group = vec![(i, at)];
            let mut next = i + 1;
            while let Some(line) = self.lines.get(next).filter(|l| !l.blank) {
                let found = (1..line.tokens.len()).find(|a| anchor(&line.tokens[*a]) == column && !done[next][*a]);
                let Some(found) = found else { break };
                group.push((next, found));
                next += 1;
            }
            group.iter().for_each(|(i, at)| done[*i][*at] = true);
            let wide = |(i, at): &(usize, usize)| {
                let token = &self.lines[*i].tokens[*at];
                token.gap > natural_gap(token)
            };
            if group.len() < 2 || !group.iter().any(wide) {
                continue;
            }
            let now =
                |(i, at): &(usize, usize)| self.lines[*i].columns[*at] + anchor_offset(&self.lines[*i].tokens[*at]);
            let target = group.iter().map(now).max().unwrap_or(0);
            let shifts: Vec<usize> = group.iter().map(|token| target - now(token)).collect();
            for ((i, at), shift) in group.into_iter().zip(shifts) {
                self.lines[i].columns[at..].iter_mut().for_each(|c| *c += shift);
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            if line.blank {
                out.push('\n');
            }
            let mut at = 0;
            for (token, column) in line.tokens.iter().zip(&line.columns) {
                out.extend(std::iter::repeat_n(' ', column.saturating_sub(at)));
                out.push_str(&token.text);
                at = column + token.text.chars().count();
            }
            out.push('\n');
        }
        out
    }

    /// The text after breaking what is too long.
    fn broken(mut self) -> String {
        let mut i = 0;
        while i < self.lines.len() {
            let breaks = if self.lines[i].width() > WIDTH { breaks(&self.lines[i]) } else { vec![] };
            if breaks.is_empty() {
                i += 1;
                continue;
            }
            let mut rest = std::mem::take(&mut self.lines[i].tokens);
            let mut parts = vec![];
            for at in breaks.into_iter().rev() {
                parts.push(rest.split_off(at));
            }
            self.lines[i].tokens = rest;
            self.lines[i].columns.clear();
            let parts = parts.into_iter().rev().map(|tokens| Line { tokens, ..Line::default() });
            self.lines.splice(i + 1..i + 1, parts);
            self.place_again();
        }
        self.text()
    }
}

/// Words that start an item, headers aside.
const ITEMS: [&str; 4] = ["import", "const", "type", "weights"];

/// What is aligned of a token: the first character, of `+=` and its like the last.
fn anchor_offset(token: &Token) -> usize {
    if token.kind == Kind::Sign && token.text.len() == 2 && token.text.ends_with('=') { 1 } else { 0 }
}

fn natural_gap(token: &Token) -> usize {
    if token.kind == Kind::Comment { 2 } else { 1 }
}

/// Whether a line belongs to the statement above although that could have ended.
fn continues(line: &Line, header: bool) -> bool {
    let first = &line.tokens[0];
    let part_of_header = ["(", "->", "where", "{", "=", "updates", "using"].contains(&first.text);
    first.is("|>") || first.is("else") || first.kind == Kind::Close || header && part_of_header
}

fn indent_of(line: &Line, brackets: &[Bracket], statement: &Statement, goes_on: bool) -> usize {
    let first = &line.tokens[0];
    let base = brackets.last().map_or(0, |b| b.inner);
    let in_list = brackets.last().is_some_and(|b| !b.brace);
    match first.text {
        _ if first.kind == Kind::Close => {
            let fresh = |b: &Bracket| b.brace || b.inner == b.outer + STEP;
            brackets.last().map_or(0, |b| if fresh(b) { b.outer } else { b.inner - 1 })
        }
        "|>" => statement.pipe.unwrap_or(if in_list { base } else { statement.indent } + STEP),
        _ if in_list || !goes_on => base,
        "{" | "else" => statement.indent,
        "(" | "->" if statement.header => statement.indent + 2 * STEP,
        _ => statement.indent + STEP,
    }
}

/// Columns of a line's tokens with natural gaps.
fn spaced(line: &Line, indent: usize) -> Vec<usize> {
    let mut columns = vec![indent];
    let mut depth = 0i32;
    // An attribute stands at the start of a line or stage, or after another attribute: only `@`, fields and brackets
    // since then.
    let mut attribute = line.tokens[0].is("@");
    let mut after_at = attribute;
    let mut unary = line.tokens[0].is("-");
    for i in 1..line.tokens.len() {
        let (prev, token) = (&line.tokens[i - 1], &line.tokens[i]);
        depth += (prev.kind == Kind::Open) as i32 - (prev.kind == Kind::Close) as i32;
        let gap = match token.kind {
            Kind::Comment => 2,
            _ if unary || after_at => 0,
            _ => gap(line, i),
        };
        unary = token.is("-") && !prev.ends_value();
        after_at = token.is("@") && (prev.is("|>") || attribute && depth == 0);
        attribute = match token.kind {
            _ if after_at => true,
            Kind::Word if depth == 0 => attribute && (prev.is("@") || prev.is(".")),
            Kind::Sign if depth == 0 => attribute && token.is("."),
            _ => attribute,
        };
        columns.push(columns[i - 1] + prev.text.chars().count() + gap);
    }
    columns
}

/// Spaces between a token and the one before it on its line.
fn gap(line: &Line, i: usize) -> usize {
    let (prev, token) = (&line.tokens[i - 1], &line.tokens[i]);
    let next = line.tokens.get(i + 1);
    match (prev.text, token.text) {
        _ if prev.kind == Kind::Str && token.kind == Kind::Str => 1,
        ("{", "}") => 0,
        ("(" | "[", _) if prev.kind == Kind::Open => 0,
        (_, ")" | "]") if token.kind == Kind::Close => 0,
        (_, "," | ";" | "?") if token.kind == Kind::Sign => 0,
        (_, ".") | (".", _) if token.is(".") || prev.is(".") => 0,
        // `x[:, 0]`
        (",", ":") => 1,
        (":", _) if i >= 2 && prev.is(":") && (line.tokens[i - 2].is("[") || line.tokens[i - 2].is(",")) => 0,
        (_, ":") if token.is(":") => 0,
        (_, "..") if token.is("..") => (prev.is(",") || !prev.ends_value() && !prev.is("-")) as usize,
        ("..", _) if prev.is("..") => 0,
        (_, "(" | "[") if token.kind == Kind::Open => match prev.kind {
            Kind::Word if KEYWORDS.contains(&prev.text) => 1,
            Kind::Word => token.gap.min(1),
            Kind::Close | Kind::Str => 0,
            _ => 1,
        },
        _ if next.is_none() && token.is(";") => 0,
        _ => 1,
    }
}

/// Tokens before which a long line is broken: every `|>` of its outermost chain, else one place.
fn breaks(line: &Line) -> Vec<usize> {
    let mut depth = 0i32;
    let mut pipes: Vec<(i32, usize)> = vec![];
    let mut places: Vec<(i32, usize)> = vec![];
    let mut parens: Vec<bool> = vec![];
    for (i, token) in line.tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => {
                depth += 1;
                parens.push(token.is("("));
            }
            Kind::Close => {
                depth -= 1;
                parens.pop();
            }
            Kind::Sign if token.is("|>") && i > 0 => pipes.push((depth, i)),
            _ => {}
        }
        let infix = token.continues() && !matches!(token.text, "," | "|>" | "." | "@") && i > 0;
        let infix =
            infix && line.tokens[i - 1].ends_value() && !matches!(token.text, "=" | ":=" | "->" | "where" | "not");
        if depth == 0 && i > 0 && (token.is("->") || token.is("where")) {
            places.push((depth, i));
        }
        let comma = token.is(",") && parens.last() == Some(&true);
        if (infix || comma) && i + 1 < line.tokens.len() && line.tokens[i + 1].kind != Kind::Comment {
            places.push((depth, i + 1));
        }
    }
    if let Some(outermost) = pipes.iter().map(|(d, _)| *d).min().filter(|d| *d <= 0) {
        return pipes.into_iter().filter(|(d, _)| *d == outermost).map(|(_, i)| i).collect();
    }
    let Some(outermost) = places.iter().map(|(d, _)| *d).min() else { return vec![] };
    let at = |place: &&(i32, usize)| line.columns[place.1 - 1] + line.tokens[place.1 - 1].text.chars().count();
    let candidates: Vec<&(i32, usize)> = places.iter().filter(|(d, _)| *d == outermost).collect();
    let fits = candidates.iter().copied().filter(|p| at(p) <= WIDTH).next_back();
    fits.or(candidates.first().copied()).map(|(_, i)| *i).into_iter().collect()
}

//! A schedule: how a nest becomes loops, as data with a text form. Schedules name axes, buffers and their own
//! variables; they hold for every kernel that has these names.
//!
//! ```text
//! split i even 14 io ii; split j 32 jo jt; split jt 16 jv l; split k 4 ko ki
//! layout B 1/32 0 1%32
//! nest jo io { C: ko ki* ii* jv* l@ }
//! ```

use serde::{Deserialize, Serialize};
use std::fmt;

/// How the tiles of a split cover an extent that the factor does not divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Full tiles, then one that is smaller.
    Ragged,
    /// Tiles of two sizes that differ by one, none larger than the factor.
    Even,
    /// Full tiles; the last one is shifted back and does some elements again. Never larger than the extent.
    Shift,
    /// Tiles of the factor, then of each smaller one, as many as fit: for extents known only when running.
    /// With `mask`, what is left is one tile of run-time extent.
    Chain { smaller: Vec<i64>, mask: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub of: String,
    pub policy: Policy,
    pub factor: i64,
    pub outer: String,
    pub inner: String,
}

/// The first `low` and last `high` iterations of a loop are written on their own, so that padding is decided there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Border {
    pub var: String,
    pub low: i64,
    pub high: i64,
}

/// One dim of a layout: dim `dim` of the buffer, whole or a part of it, with padding after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayoutDim {
    pub dim: usize,
    pub part: Part,
    pub pad: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    Whole,
    /// Index divided by this block.
    Div(i64),
    /// Index within a block.
    Mod(i64),
}

/// Order and blocking of a buffer in memory, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub buffer: String,
    pub dims: Vec<LayoutDim>,
    /// Variables whose part of an index is dropped: the buffer is private to one iteration of each.
    pub local: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    Serial,
    Parallel,
    Unroll,
    /// Unrolled without sharing loads between iterations.
    Fresh,
    /// Unrolled; a reduction keeps its own accumulator for each iteration.
    Partial,
    Lanes,
    Block(u8),
    Thread(u8),
}

impl Mark {
    const TEXT: &[(Mark, &str)] = &[
        (Mark::Parallel, "|"),
        (Mark::Unroll, "*"),
        (Mark::Fresh, "!"),
        (Mark::Partial, "+"),
        (Mark::Lanes, "@"),
        (Mark::Block(0), ".bx"),
        (Mark::Block(1), ".by"),
        (Mark::Block(2), ".bz"),
        (Mark::Thread(0), ".tx"),
        (Mark::Thread(1), ".ty"),
        (Mark::Thread(2), ".tz"),
        (Mark::Serial, ""),
    ];

    pub fn unrolled(self) -> bool {
        matches!(self, Mark::Unroll | Mark::Fresh | Mark::Partial)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    pub var: String,
    pub mark: Mark,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nest {
    Loops {
        loops: Vec<Loop>,
        body: Vec<Nest>,
    },
    /// Stages, named by their targets, computed together in loops of their own.
    Compute {
        stages: Vec<String>,
        loops: Vec<Loop>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// `stage B as P`: P is a copy of B, and what read B reads P. A rewrite of the kernel, done first.
    pub copies: Vec<(String, String)>,
    pub splits: Vec<Split>,
    pub borders: Vec<Border>,
    pub layouts: Vec<Layout>,
    /// Buffers whose values stay in registers.
    pub registers: Vec<String>,
    /// Buffers stored past the caches.
    pub streams: Vec<String>,
    /// Buffers of which a load fetches what lies this many elements further into the caches, for later.
    pub prefetches: Vec<(String, i64)>,
    pub nest: Vec<Nest>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (buffer, copy) in &self.copies {
            writeln!(f, "stage {buffer} as {copy}")?;
        }
        for s in &self.splits {
            write!(f, "split {} ", s.of)?;
            match &s.policy {
                Policy::Ragged => write!(f, "{}", s.factor)?,
                Policy::Even => write!(f, "even {}", s.factor)?,
                Policy::Shift => write!(f, "shift {}", s.factor)?,
                Policy::Chain { smaller, mask } => {
                    write!(f, "chain {}", s.factor)?;
                    smaller.iter().try_for_each(|n| write!(f, "+{n}"))?;
                    if *mask {
                        write!(f, "+mask")?;
                    }
                }
            }
            writeln!(f, " {} {}", s.outer, s.inner)?;
        }
        for b in &self.borders {
            writeln!(f, "border {} {} {}", b.var, b.low, b.high)?;
        }
        for l in &self.layouts {
            write!(f, "layout {}", l.buffer)?;
            for d in &l.dims {
                write!(f, " {}", d.dim)?;
                match d.part {
                    Part::Whole => {}
                    Part::Div(n) => write!(f, "/{n}")?,
                    Part::Mod(n) => write!(f, "%{n}")?,
                }
                if d.pad > 0 {
                    write!(f, "+{}", d.pad)?;
                }
            }
            if !l.local.is_empty() {
                write!(f, " local {}", l.local.join(" "))?;
            }
            writeln!(f)?;
        }
        for (word, names) in [("register", &self.registers), ("stream", &self.streams)] {
            if !names.is_empty() {
                writeln!(f, "{word} {}", names.join(" "))?;
            }
        }
        for (buffer, distance) in &self.prefetches {
            writeln!(f, "prefetch {buffer} {distance}")?;
        }
        write!(f, "nest {}", NestText(&self.nest))
    }
}

struct NestText<'a>(&'a [Nest]);

impl fmt::Display for NestText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let loops = |loops: &[Loop]| {
            let text = |l: &Loop| format!("{}{}", l.var, Mark::TEXT.iter().find(|m| m.0 == l.mark).map_or("", |m| m.1));
            loops.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        for (i, nest) in self.0.iter().enumerate() {
            if i > 0 {
                write!(f, ", ")?;
            }
            match nest {
                Nest::Loops { loops: l, body } => write!(f, "{} {{ {} }}", loops(l), NestText(body))?,
                Nest::Compute { stages, loops: l } => write!(f, "{}: {}", stages.join(" "), loops(l))?,
            }
        }
        Ok(())
    }
}

/// What is wrong with a schedule's text, or with applying it to a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleError(pub String);

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScheduleError {}

pub(crate) fn error<T>(text: impl Into<String>) -> Result<T, ScheduleError> {
    Err(ScheduleError(text.into()))
}

impl std::str::FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let mut schedule = Schedule::default();
        let (directives, nest) = match text.split_once("nest ") {
            Some((before, after)) => (before, after),
            None => return error("a schedule ends with `nest …`"),
        };
        for line in directives.split([';', '\n']).map(str::trim).filter(|l| !l.is_empty()) {
            schedule.directive(line)?;
        }
        let mut spaced = nest.to_string();
        for symbol in ["{", "}", ":", ","] {
            spaced = spaced.replace(symbol, &format!(" {symbol} "));
        }
        let mut words = spaced.split_whitespace().peekable();
        schedule.nest = parse_nests(&mut words)?;
        match words.next() {
            None => Ok(schedule),
            Some(word) => error(format!("`{word}` after the nest")),
        }
    }
}

impl Schedule {
    fn directive(&mut self, line: &str) -> Result<(), ScheduleError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let strings = |w: &[&str]| w.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        match words[..] {
            ["stage", buffer, "as", copy] => self.copies.push((buffer.into(), copy.into())),
            ["split", of, ref policy @ .., outer, inner] => {
                let (policy, factor) = match *policy {
                    [n] => (Policy::Ragged, number(n)?),
                    ["even", n] => (Policy::Even, number(n)?),
                    ["shift", n] => (Policy::Shift, number(n)?),
                    ["chain", sizes] => {
                        let mut sizes: Vec<&str> = sizes.split('+').collect();
                        let mask = sizes.last() == Some(&"mask");
                        sizes.truncate(sizes.len() - mask as usize);
                        let sizes = sizes.into_iter().map(number).collect::<Result<Vec<_>, _>>()?;
                        let [factor, ref smaller @ ..] = sizes[..] else { return error("`chain` needs a tile size") };
                        (Policy::Chain { smaller: smaller.to_vec(), mask }, factor)
                    }
                    _ => return error(format!("`{line}`: expected a factor, `even n`, `shift n` or `chain a+b+mask`")),
                };
                self.splits.push(Split { of: of.into(), policy, factor, outer: outer.into(), inner: inner.into() });
            }
            ["border", var, low, high] => {
                self.borders.push(Border { var: var.into(), low: number(low)?, high: number(high)? });
            }
            ["layout", buffer, ref rest @ ..] => {
                let at = rest.iter().position(|w| *w == "local").unwrap_or(rest.len());
                let dims = rest[..at].iter().map(|w| layout_dim(w)).collect::<Result<_, _>>()?;
                let local = strings(rest.get(at + 1..).unwrap_or_default());
                self.layouts.push(Layout { buffer: buffer.into(), dims, local });
            }
            ["prefetch", buffer, distance] => self.prefetches.push((buffer.into(), number(distance)?)),
            ["register", ref names @ ..] => self.registers.extend(strings(names)),
            ["stream", ref names @ ..] => self.streams.extend(strings(names)),
            _ => return error(format!("unknown directive `{line}`")),
        }
        Ok(())
    }
}

fn number(word: &str) -> Result<i64, ScheduleError> {
    match word.parse() {
        // More is no part of any tensor, and sums of such numbers must be counted.
        Ok(n) if (0..1 << 40).contains(&n) => Ok(n),
        _ => error(format!("`{word}` is not a size")),
    }
}

fn layout_dim(word: &str) -> Result<LayoutDim, ScheduleError> {
    let (body, pad) = match word.split_once('+') {
        Some((body, pad)) => (body, number(pad)?),
        None => (word, 0),
    };
    let part = |text: &str| match number(text)? {
        0 => error(format!("`{word}`: a block has at least one element")),
        n => Ok(n),
    };
    let (dim, part) = match (body.split_once('/'), body.split_once('%')) {
        (Some((dim, n)), _) => (dim, Part::Div(part(n)?)),
        (_, Some((dim, n))) => (dim, Part::Mod(part(n)?)),
        _ => (body, Part::Whole),
    };
    Ok(LayoutDim { dim: number(dim)? as usize, part, pad })
}

fn parse_nests<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Result<Vec<Nest>, ScheduleError> {
    let mut nests = vec![];
    loop {
        while words.next_if_eq(&",").is_some() {}
        if words.peek().is_none_or(|w| *w == "}") {
            return Ok(nests);
        }
        let mut names = vec![];
        let opens = loop {
            match words.next() {
                Some("{") => break true,
                Some(":") => break false,
                Some(word) => names.push(word),
                None => return error("a nest ends too soon: expected `{` or `:`"),
            }
        };
        nests.push(if opens {
            let body = parse_nests(words)?;
            if words.next() != Some("}") {
                return error("expected `}`");
            }
            Nest::Loops { loops: names.into_iter().map(parse_loop).collect(), body }
        } else {
            let mut loops = vec![];
            while let Some(word) = words.next_if(|w| *w != "," && *w != "}") {
                loops.push(parse_loop(word));
            }
            Nest::Compute { stages: names.into_iter().map(String::from).collect(), loops }
        });
    }
}

fn parse_loop(word: &str) -> Loop {
    let (mark, suffix) = *Mark::TEXT.iter().find(|(_, text)| word.ends_with(text)).expect("the last suffix is empty");
    Loop { var: word[..word.len() - suffix.len()].into(), mark }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let text = "stage K as T\nsplit i even 14 io ii\nsplit j chain 32+16+mask jo jt\nborder y 1 2\n\
                    layout T 1/32 0 1%32+16 local h\nregister m s\nstream y\nprefetch K 512\n\
                    nest h| { T: jo d jv* l@, io { S: jo d! ii+ l@ } }";
        let schedule: Schedule = text.parse().unwrap();
        assert_eq!(schedule.to_string(), text);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| text.parse::<Schedule>().unwrap_err().to_string();
        assert_eq!(message("split i x io ii; nest i: j"), "`x` is not a size");
        assert_eq!(message("turn i; nest i: j"), "unknown directive `turn i`");
        assert_eq!(message("nest i { C: k"), "expected `}`");
    }
}

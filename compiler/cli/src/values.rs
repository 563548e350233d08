//! One input's value: from a file, or as it is written on the command line.

use crate::Failure;
use nnc::{Elem, Formula, Port, Symbol, Tensor, channels, picture, sound};
use serde_json::Value;
use std::path::Path;

/// The input that a value is for.
pub struct Wanted<'w> {
    pub port: &'w Port,
    /// Its entry's sizes, and those that are known.
    pub symbols: &'w [Symbol],
    pub sizes: &'w [Option<usize>],
    /// Whether pictures may be resized.
    pub resize: bool,
}

impl Wanted<'_> {
    /// The tensor that a text stands for: numbers, or a file.
    pub fn read(&self, text: &str) -> Result<Tensor, Failure> {
        match serde_json::from_str(text) {
            Ok(Value::String(words)) => return self.words(&words),
            Ok(value @ (Value::Array(_) | Value::Number(_) | Value::Bool(_))) => return self.written(&value),
            _ => {}
        }
        let path = Path::new(text);
        match path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav")) {
            true => self.sound(path),
            false if picture::is_named(path) => self.picture(path),
            false => self.array(path),
        }
    }

    fn array(&self, path: &Path) -> Result<Tensor, Failure> {
        let (tensor, port) = (nnc::npy::read(path)?, self.port);
        match tensor.elem == port.elem || tensor.elem.is_float() == port.elem.is_float() {
            true => Ok(tensor.cast(port.elem)),
            false => Err(self.wrong(&format!("{} holds {}", path.display(), tensor.elem), "convert it first")),
        }
    }

    /// `[[1, 2], [3, 4]]`, or `0.5`.
    fn written(&self, value: &Value) -> Result<Tensor, Failure> {
        let (mut shape, mut items) = (vec![], vec![]);
        let mut at = value;
        while let Value::Array(rows) = at {
            shape.push(rows.len());
            let Some(first) = rows.first() else { break };
            at = first;
        }
        if !collect(value, &shape, &mut items) {
            let fix = "write as many numbers in each bracket as in the others of its level";
            return Err(self.wrong("what is written is not of one shape", fix));
        }
        if shape.len() != self.port.dims.len() {
            let fix = format!("write it with {} levels of brackets", self.port.dims.len());
            return Err(self.wrong(&format!("what is written has shape {shape:?}"), &fix));
        }
        let tensor = Tensor::from_f64(self.port.elem, &shape, items.iter().copied());
        let lost = items.iter().zip(tensor.to_f64()).find(|(item, held)| **item != *held);
        match lost {
            Some((item, _)) if !self.port.elem.is_float() => {
                Err(self.wrong(&format!("`{item}` is none of its numbers"), "write one that is"))
            }
            _ => Ok(tensor),
        }
    }

    /// The bytes of a text in UTF-8, one row of them where there is a batch.
    fn words(&self, words: &str) -> Result<Tensor, Failure> {
        let bytes = words.as_bytes();
        match self.port.dims.len() {
            rank @ (1 | 2) if self.port.elem.is_int() => {
                let shape = [1, bytes.len()];
                Ok(Tensor::from_f64(self.port.elem, &shape[2 - rank..], bytes.iter().map(|b| *b as f64)))
            }
            _ => Err(self.wrong("what is written is text", "texts go into [length] or [batch, length] of integers")),
        }
    }

    fn picture(&self, path: &Path) -> Result<Tensor, Failure> {
        let layout = Layout::of(self.port).ok_or_else(|| {
            let fix =
                "pictures go into [height, width], with 1, 3 or 4 channels before or after, and a batch before all";
            self.wrong(&format!("{} is a picture", path.display()), fix)
        })?;
        let size = [layout.height, layout.width].map(|axis| self.size(&self.port.dims[axis]));
        let resized = match size {
            [Some(height), Some(width)] if self.resize => Some([height, width]),
            _ => None,
        };
        let planes = picture::read(path, layout.channels, resized)?;
        let found = [planes.shape[1], planes.shape[2]];
        if size.iter().zip(found).any(|(wanted, n)| wanted.is_some_and(|w| w != n)) {
            let text = format!("{} has {} x {} pixels", path.display(), found[1], found[0]);
            return Err(self.wrong(&text, "--resize makes it fit"));
        }
        let shape: Vec<usize> = (0..self.port.dims.len()).map(|axis| layout.extent(axis, &planes.shape)).collect();
        let planes = match layout.channels_last {
            true => {
                let pixels = channels::together(&planes.to_f64(), layout.channels);
                Tensor::from_f64(planes.elem, &planes.shape, pixels)
            }
            false => planes,
        };
        Ok(self.scaled(Tensor { shape, ..planes }, 255.0))
    }

    fn sound(&self, path: &Path) -> Result<Tensor, Failure> {
        let sound = sound::read(path)?;
        let [channels, len] = sound.samples.shape[..] else { unreachable!("channels and samples") };
        let shape = match self.port.dims.len() {
            1 if channels == 1 => vec![len],
            // A batch of one, or channels.
            2 => vec![channels, len],
            3 => vec![1, channels, len],
            _ => {
                let text = format!("{} is a sound of {channels} channels", path.display());
                return Err(self.wrong(&text, "sounds go into [samples], [channels, samples] or a batch of these"));
            }
        };
        Ok(self.scaled(Tensor { shape, ..sound.samples }, 32_768.0))
    }

    /// Floats as they are; for an input of integers times `full`.
    fn scaled(&self, floats: Tensor, full: f64) -> Tensor {
        match self.port.elem {
            elem if elem.is_float() => floats.cast(elem),
            Elem::Bool => floats.cast(Elem::Bool),
            elem => {
                let whole = floats.to_f64().into_iter().map(|x| (x * full).round());
                Tensor::from_f64(elem, &floats.shape, whole)
            }
        }
    }

    fn size(&self, dim: &Formula) -> Option<usize> {
        match dim {
            Formula::Const(n) => usize::try_from(*n).ok(),
            Formula::Symbol(s) => self.sizes[*s],
            _ => None,
        }
    }

    fn wrong(&self, what: &str, fix: &str) -> Failure {
        let dim = |d: &Formula| match (self.size(d), d) {
            (Some(n), _) => n.to_string(),
            (None, Formula::Symbol(s)) => self.symbols[*s].name.clone(),
            (None, _) => "_".into(),
        };
        let dims: Vec<String> = self.port.dims.iter().map(dim).collect();
        let wanted = format!("input `{}` is {}[{}]", self.port.name, self.port.elem, dims.join(", "));
        Failure(format!("error: {what}, but {wanted}; {fix}"))
    }
}

/// Puts numbers into `items` in order; whether they have the shape that the first ones have.
fn collect(value: &Value, shape: &[usize], items: &mut Vec<f64>) -> bool {
    match (value, shape) {
        (Value::Array(rows), [n, inner @ ..]) => rows.len() == *n && rows.iter().all(|row| collect(row, inner, items)),
        (Value::Number(n), []) => n.as_f64().map(|x| items.push(x)).is_some(),
        (Value::Bool(b), []) => {
            items.push(*b as u8 as f64);
            true
        }
        _ => false,
    }
}

/// Which axes of an input a picture's are.
struct Layout {
    channels: usize,
    channels_last: bool,
    /// The axis of channels, if there is one.
    channel: Option<usize>,
    height: usize,
    width: usize,
}

impl Layout {
    /// The last two axes are height and width, or the last three height, width and channels.
    fn of(port: &Port) -> Option<Layout> {
        let rank = port.dims.len();
        let few = |axis: usize| match port.dims[axis] {
            Formula::Const(n @ (1 | 3 | 4)) => Some(n as usize),
            _ => None,
        };
        let grey = |height| Layout { channels: 1, channels_last: false, channel: None, height, width: height + 1 };
        let first = |axis| few(axis).map(|n| Layout { channels: n, channel: Some(axis), ..grey(axis + 1) });
        let last = |axis: usize| {
            let channels = few(axis)?;
            Some(Layout { channels, channels_last: true, channel: Some(axis), ..grey(axis - 2) })
        };
        match rank {
            2 => Some(grey(0)),
            3 => first(0).or_else(|| last(2)).or_else(|| Some(grey(1))),
            4 => first(1).or_else(|| last(3)),
            _ => None,
        }
    }

    fn extent(&self, axis: usize, planes: &[usize]) -> usize {
        match axis {
            a if a == self.height => planes[1],
            a if a == self.width => planes[2],
            a if Some(a) == self.channel => planes[0],
            // The batch.
            _ => 1,
        }
    }
}

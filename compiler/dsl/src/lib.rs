//! The language: text to syntax tree to graphs.

pub mod ast;
pub mod doc;
mod elaborate;
mod format;
pub mod parse;
mod resolve;
pub mod weights;

pub use elaborate::{
    Defines, Entry, LAST, Metric, Model, Provided, RANDOM_KEY, STEP, Setting, Stored, TrainStep, Training, elaborate,
    elaborate_all, import_path, imports,
};
pub use format::format;
pub use parse::parse;

/// Whether a file of this name is one of the standard library.
pub fn is_library(name: &str) -> bool {
    STANDARD_LIBRARY.iter().any(|(known, _)| *known == name)
}

/// The standard library: names for messages, and texts.
pub const STANDARD_LIBRARY: &[(&str, &str)] = &[
    ("std/math.nn", include_str!("../std/math.nn")),
    ("std/activations.nn", include_str!("../std/activations.nn")),
    ("std/random.nn", include_str!("../std/random.nn")),
    ("std/init.nn", include_str!("../std/init.nn")),
    ("std/layers.nn", include_str!("../std/layers.nn")),
    ("std/norms.nn", include_str!("../std/norms.nn")),
    ("std/pooling.nn", include_str!("../std/pooling.nn")),
    ("std/attention.nn", include_str!("../std/attention.nn")),
    ("std/recurrent.nn", include_str!("../std/recurrent.nn")),
    ("std/losses.nn", include_str!("../std/losses.nn")),
    ("std/optim.nn", include_str!("../std/optim.nn")),
    ("std/schedules.nn", include_str!("../std/schedules.nn")),
    ("std/data.nn", include_str!("../std/data.nn")),
    ("std/onnx.nn", include_str!("../std/onnx.nn")),
];

//! Compiled models kept from one run to the next. Weights are no part of them, nor the graphs that only reports read.

use crate::compile::{Compiler, Model, Stage, model_of};
use crate::constants::Constant;
use dsl::Stored;
use dsl::weights::Rules;
use engine::{Blob, Cache, Entry, Kernels};
use graph::{Graph, Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    /// A graph whose operands are what the model stores.
    stored: String,
    rules: BTreeMap<String, Rules>,
    entries: Vec<Entry>,
    constants: Vec<Constant>,
    kept: Vec<engine::Kept>,
    code: Blob,
}

/// Where a compiler keeps what it makes.
pub(crate) struct Place {
    cache: Cache,
    name: String,
}

impl Compiler {
    /// Where the result of this compiler is kept: by all that it follows from, the compiler's own file among it. Nowhere if
    /// no cache was chosen, or for what has one of its own or leaves out passes.
    pub(crate) fn place(&self) -> Option<Place> {
        let cache = self.cache.clone()?;
        let own = std::env::current_exe().and_then(std::fs::metadata).ok()?;
        let changed = own.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        let mut parts = vec![env!("CARGO_PKG_VERSION").to_string(), format!("{} {changed:?}", own.len())];
        parts.extend(self.settings()?);
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        Some(Place { cache, name: Cache::name(&parts, "model") })
    }
}

impl Place {
    /// The model that is kept here; `import` brings its weights.
    pub fn get(&self, import: Option<Arc<onnx::Import>>) -> Option<Model> {
        let start = Instant::now();
        let kept: Kept = postcard::from_bytes(&self.cache.get(&self.name)?).ok()?;
        let stored = model_of(Graph::parse(&kept.stored).ok()?).stored;
        let code = Kernels::Cpu(Arc::new(kept.code.map().ok()?));
        let Kept { name, rules, entries, constants, kept, .. } = kept;
        let stages = vec![Stage { name: "cache".into(), time: start.elapsed() }];
        Some(Model { name, stored, rules, entries, import, constants, kept, code, compiled: vec![], stages })
    }

    /// Keeps a model, unless it has code from elsewhere, which may change without the model.
    pub fn put(&self, model: &Model) {
        let Kernels::Cpu(code) = &model.code else { return };
        let code = code.blob().clone();
        if !code.libraries.is_empty() {
            return;
        }
        let kept = Kept {
            name: model.name.clone(),
            stored: operands(&model.stored).to_string(),
            rules: model.rules.clone(),
            entries: model.entries.clone(),
            constants: model.constants.clone(),
            kept: model.kept.clone(),
            code,
        };
        if let Ok(bytes) = postcard::to_stdvec(&kept) {
            self.cache.put(&self.name, &bytes);
        }
    }
}

/// A graph that has these operands and computes nothing.
fn operands(stored: &[Stored]) -> Graph {
    let mut graph = Graph::new("stored");
    for s in stored {
        graph.operand(s.name.clone(), s.storage, s.ty.clone(), Origin::default());
    }
    graph
}

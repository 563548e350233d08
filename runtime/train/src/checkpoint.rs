//! Files of a run: the weights of each model, and all that is needed to go on.

use crate::{Kept, State, TrainError, Trainer};
use engine::CallError;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tensor::Tensor;
use tensor::safetensors::{Stored, Weights, write, write_with};

/// Where the state of a run lies in the metadata of its file.
const STATE: &str = "nnc.training";

/// Beside the weights: what `--resume` takes.
pub fn resume_path(weights: &Path) -> PathBuf {
    weights.with_extension("resume.safetensors")
}

impl Trainer {
    /// Names of the models that are trained: what stands before the first dot of what they store.
    fn roots(&self) -> Vec<&str> {
        let mut roots: Vec<&str> = vec![];
        for kept in self.kept.iter().filter(|k| k.of_model) {
            let root = kept.name.split('.').next().unwrap_or("");
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        roots
    }

    fn tensor(&self, kept: &Kept) -> Result<Tensor, CallError> {
        Ok(match self.session.kept(&kept.name)? {
            Some(bytes) if !bytes.is_empty() => {
                Tensor { elem: kept.elem, shape: kept.shape.clone(), bytes: bytes[..].into() }
            }
            // Not needed so far.
            _ => Tensor::zeros(kept.elem, &kept.shape),
        })
    }

    /// Writes the weights of the models as `nnc run` takes them, whole or not at all: one file, or `FILE-NAME.safetensors` for each
    /// model if there are several. Gives the files' names.
    pub fn save_weights(&self, path: &Path) -> Result<Vec<PathBuf>, TrainError> {
        let roots = self.roots();
        let mut files = vec![];
        for root in &roots {
            let file = match roots.len() {
                1 => path.to_path_buf(),
                _ => {
                    let stem = path.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned());
                    path.with_file_name(format!("{stem}-{root}.safetensors"))
                }
            };
            let below = |name: &'_ str| Some(name.strip_prefix(root)?.strip_prefix('.')?.to_string());
            let changing = self.kept.iter().filter(|k| k.of_model);
            let changing = changing.filter_map(|k| Some((below(&k.name)?, k)));
            let changing = changing.map(|(name, k)| Ok((name, self.tensor(k)?)));
            let frozen = self.frozen.iter().filter_map(|(name, t)| Some(Ok((below(name)?, t.clone()))));
            let tensors = changing.chain(frozen).collect::<Result<Vec<(String, Tensor)>, CallError>>()?;
            write(&file, tensors.iter().map(|(name, t)| (name.as_str(), stored(t))))?;
            files.push(file);
        }
        Ok(files)
    }

    /// Writes everything that the run depends on, as it is now, whole or not at all.
    pub fn save_checkpoint(&self, path: &Path) -> Result<(), TrainError> {
        let tensors = self.kept.iter().map(|k| self.tensor(k)).collect::<Result<Vec<Tensor>, CallError>>()?;
        let tensors = self.kept.iter().zip(&tensors).map(|(k, t)| (k.name.as_str(), stored(t)));
        // Numbers and their lists always have a text.
        let state = serde_json::to_string(&self.state).unwrap_or_default();
        Ok(write_with(path, tensors, HashMap::from([(STATE.to_string(), state)]))?)
    }

    /// Goes on from a checkpoint of the same program.
    pub fn resume(&mut self, path: &Path) -> Result<(), TrainError> {
        let wrong = |message: String| TrainError::Resume { path: path.into(), message };
        let file = Weights::open(path)?;
        let state = file.metadata(STATE);
        let state = state.ok_or_else(|| {
            wrong("holds no state of a run; give the file that `nnc train --save` wrote beside the weights".into())
        })?;
        let state: State = serde_json::from_str(state).map_err(|e| wrong(format!("its state cannot be read: {e}")))?;
        if state.runs.len() != self.steps.len() || state.passes.len() != self.steps.len() {
            let (here, there) = (self.steps.len(), state.runs.len());
            return Err(wrong(format!("is from a run of {there} steps; this one has {here}")));
        }
        for kept in &self.kept {
            let found = file.get(&kept.name);
            let fits = found.is_some_and(|t| t.elem == kept.elem && t.shape == kept.shape);
            let Some(found) = found.filter(|_| fits) else {
                let expected = format!("{}{:?}", kept.elem, kept.shape);
                let found = found.map_or("it is not there".into(), |t| format!("it is {}{:?}", t.elem, t.shape));
                return Err(wrong(format!("`{}` must be {expected}; {found}: the model has changed", kept.name)));
            };
            self.session.set_kept(&kept.name, found.bytes);
        }
        self.state = state;
        Ok(())
    }
}

fn stored(t: &Tensor) -> Stored<'_> {
    Stored { elem: t.elem, shape: &t.shape, bytes: &t.bytes }
}

//! Calls with tensors by value. The engine's own session takes views and allocates nothing.

use crate::error::Error;
use engine::{Entry, View, ViewMut};
use std::sync::Arc;
use tensor::Tensor;

/// The memory of one caller, and its calls.
pub struct Session {
    inner: engine::Session,
    program: Arc<engine::Program>,
}

impl Session {
    pub(crate) fn new(program: Arc<engine::Program>, threads: usize) -> Session {
        Session { inner: engine::Session::new(program.clone(), threads), program }
    }

    pub fn entry(&self, name: &str) -> Result<&Entry, Error> {
        Ok(&self.program.entries[self.inner.entry_index(name)?])
    }

    /// Runs an entry on inputs in the order of its signature; gives its results in order.
    pub fn call(&mut self, entry: &str, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let index = self.inner.entry_index(entry)?;
        let inputs: Vec<View> = inputs.iter().map(view).collect();
        let shapes = self.inner.output_shapes(index, &inputs)?;
        let ports = &self.program.entries[index].outputs;
        let mut outputs: Vec<Tensor> = ports.iter().zip(&shapes).map(|(p, s)| Tensor::zeros(p.elem, s)).collect();
        self.call_into(index, &inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Runs entry number `index` into tensors of the right shapes; allocates nothing of its own for the data.
    pub fn call_into(&mut self, index: usize, inputs: &[View], outputs: &mut [Tensor]) -> Result<(), Error> {
        let mut views: Vec<ViewMut> = outputs
            .iter_mut()
            .map(|t| ViewMut { elem: t.elem, shape: &t.shape, bytes: &mut t.bytes })
            .collect();
        Ok(self.inner.call(index, inputs, &mut views)?)
    }

    /// The engine's session, for calls that allocate nothing.
    pub fn engine(&mut self) -> &mut engine::Session {
        &mut self.inner
    }
}

/// A tensor as the engine takes it.
pub fn view(t: &Tensor) -> View<'_> {
    View { elem: t.elem, shape: &t.shape, bytes: &t.bytes }
}

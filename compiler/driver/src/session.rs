//! Calls with tensors by value. The engine's own session takes views and allocates nothing.

use crate::error::Error;
use engine::{AsView, CallError, Entry};
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
        let shapes = self.inner.output_shapes(index, inputs)?;
        let ports = &self.program.entries[index].outputs;
        let mut outputs = vec![];
        for (port, shape) in ports.iter().zip(&shapes) {
            let room = Tensor::try_zeros(port.elem, shape);
            outputs.push(room.ok_or_else(|| CallError::no_room(&self.program.entries[index], port, shape))?);
        }
        self.call_into(index, inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Runs entry number `index` into tensors of the right shapes. With the sizes of the call before, nothing is
    /// allocated.
    pub fn call_into(&mut self, index: usize, inputs: &[impl AsView], outputs: &mut [Tensor]) -> Result<(), Error> {
        Ok(self.inner.call(index, inputs, outputs)?)
    }

    /// The engine's session.
    pub fn engine(&mut self) -> &mut engine::Session {
        &mut self.inner
    }
}

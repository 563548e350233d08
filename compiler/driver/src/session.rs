//! Calls with tensors by value. The engine's own session takes views and allocates nothing.

use crate::error::Error;
use engine::{AsView, Entry};
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
        Ok(self.inner.results(index, inputs)?)
    }

    /// Runs entry number `index` into tensors of the right shapes. With the sizes of the call before, nothing is
    /// allocated.
    pub fn call_into(&mut self, index: usize, inputs: &[impl AsView], outputs: &mut [Tensor]) -> Result<(), Error> {
        Ok(self.inner.call(index, inputs, outputs)?)
    }

    /// Starts the random numbers of the model anew. Equal seeds give equal numbers, whatever the threads; a session that is
    /// given none has seed 0.
    pub fn seed(&mut self, seed: u64) {
        seed_engine(&mut self.inner, seed);
    }

    /// The engine's session.
    pub fn engine(&mut self) -> &mut engine::Session {
        &mut self.inner
    }
}

/// Gives a session the start of all random numbers of a seed, if its program uses any.
pub(crate) fn seed_engine(session: &mut engine::Session, seed: u64) {
    session.set_kept(dsl::RANDOM_KEY, &key(seed));
}

/// The start of all random numbers of a seed: `u32[2]`.
pub(crate) fn key(seed: u64) -> Vec<u8> {
    [(seed ^ seed >> 32) as u32, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

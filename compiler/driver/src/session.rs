//! Calls with tensors by value. The engine's own session takes views and allocates nothing.

use crate::error::Error;
use engine::{AsView, Entry};
use std::sync::Arc;
use tensor::Tensor;

/// The memory of one caller, and its calls. Sessions of one program share its code and weights, can be sent to other threads,
/// and run at the same time.
///
/// ```
/// let text = "model Sum(x: [N, 4]) -> (y: [N]) = sum(x, [-1])";
/// let program = nnc::compile_text("sum.nn", text).build()?.load(&[] as &[&str], None)?;
/// let run = |n: usize| {
///     let mut session = program.session(1);
///     let x = nnc::Tensor::new(&[n, 4], &vec![0.5f32; 4 * n]);
///     session.call("forward", &[x]).map(|results| results[0].to_f64())
/// };
/// let results = std::thread::scope(|scope| [1, 2, 3].map(|n| scope.spawn(move || run(n))).map(|t| t.join().unwrap()));
/// for (n, result) in (1..).zip(results) {
///     assert_eq!(result?, vec![2.0; n]);
/// }
/// # Ok::<(), nnc::Error>(())
/// ```
pub struct Session {
    inner: engine::Session,
    program: Arc<engine::Program>,
}

impl Session {
    pub(crate) fn new(program: Arc<engine::Program>, threads: usize) -> Session {
        Session { inner: engine::Session::new(program.clone(), threads), program }
    }

    /// The entry of this name: its inputs, outputs and guards.
    pub fn entry(&self, name: &str) -> Result<&Entry, Error> {
        Ok(&self.program.entries[self.inner.entry_index(name)?])
    }

    /// Runs an entry on inputs in the order of its signature; gives its results in order. What the model keeps in a
    /// `cache` goes on from the call before.
    ///
    /// ```
    /// let text = "model Mean(x: [N]) -> (y: []) = mean(x)";
    /// let mut session = nnc::compile_text("mean.nn", text).build()?.load(&[] as &[&str], None)?.session(2);
    /// let error = session.call("forward", &[nnc::Tensor::new(&[1, 2], &[1f32, 2.0])]).err().unwrap();
    /// assert_eq!(error.to_string(), "input `x` must be f32[N], got f32[1, 2]");
    /// # Ok::<(), nnc::Error>(())
    /// ```
    pub fn call(&mut self, entry: &str, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let index = self.inner.entry_index(entry)?;
        Ok(self.inner.results(index, inputs)?)
    }

    /// Runs entry number `index` into tensors of the right shapes. With the sizes of the call before, nothing is
    /// allocated.
    ///
    /// ```
    /// let text = "model Double(x: [N]) -> (y: [N]) = x + x";
    /// let mut session = nnc::compile_text("double.nn", text).build()?.load(&[] as &[&str], None)?.session(1);
    /// let mut y = [nnc::Tensor::zeros(nnc::Elem::F32, &[2])];
    /// session.call_into(0, &[nnc::Tensor::new(&[2], &[1f32, 2.0])], &mut y)?;
    /// assert_eq!(y[0].to_f64(), [2.0, 4.0]);
    /// # Ok::<(), nnc::Error>(())
    /// ```
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

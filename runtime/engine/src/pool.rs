//! Threads that wait for work by spinning, then by sleeping.
//!
//! A job is a function of a range of tasks. Each thread has a share of them and claims chunks of it in order, then what
//! is left of the others' shares, so a thread that the system suspends costs one chunk. The shares are the same for
//! every job with as many tasks: what a thread wrote in one kernel it reads in the next, from its own cache.
//! Workers that find no job for a while park themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

/// Rounds of spinning before a worker parks: about 50 µs, the time between kernels of one call and of a loop of calls.
const SPINS: u32 = 20_000;

/// Runs a job's tasks from `begin` to `end`; `thread` is below the pool's thread count.
pub trait Job: Sync {
    fn run(&self, thread: usize, begin: i64, end: i64);
}

/// A fixed set of threads, the caller of [`Pool::run`] among them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
}

struct Shared {
    /// Counts jobs; odd while one is open to workers.
    epoch: AtomicU64,
    job: std::sync::Mutex<Option<JobPointer>>,
    shares: Vec<Share>,
    chunk: AtomicI64,
    /// Workers inside the open job.
    active: AtomicUsize,
    parked: AtomicUsize,
    /// Workers that have come up.
    started: AtomicUsize,
    stop: AtomicBool,
}

/// The tasks of one thread, on a cache line of their own.
#[derive(Default)]
#[repr(align(128))]
struct Share {
    next: AtomicI64,
    end: AtomicI64,
}

/// A borrowed job; `Pool::run` does not return before every worker has left it.
#[derive(Clone, Copy)]
struct JobPointer(*const (dyn Job + 'static));

// SAFETY: a job is `Sync`, and the pointer is followed only while `Pool::run` keeps the job borrowed.
unsafe impl Send for JobPointer {}

impl Pool {
    /// `threads` in all, at least one: that many less one are started.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            job: std::sync::Mutex::new(None),
            shares: (0..threads.max(1)).map(|_| Share::default()).collect(),
            chunk: AtomicI64::new(1),
            active: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let start = |thread: usize| {
            let shared = shared.clone();
            thread::Builder::new().name(format!("nnc-{thread}")).spawn(move || shared.work(thread))
        };
        // A system that refuses a thread leaves fewer: slower, not wrong.
        let workers: Vec<JoinHandle<()>> = (1..threads.max(1)).map_while(|i| start(i).ok()).collect();
        // A thread allocates while it comes up; calls are not to.
        while shared.started.load(Ordering::SeqCst) < workers.len() {
            thread::yield_now();
        }
        let handles = workers.iter().map(|w| w.thread().clone()).collect();
        Pool { shared, workers, handles }
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs all tasks of `job`, `chunk` at a time, and returns when they are done.
    pub fn run(&mut self, job: &(dyn Job + '_), tasks: i64, chunk: i64) {
        if self.workers.is_empty() || tasks <= chunk {
            return job.run(0, 0, tasks);
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed; the job outlives this call, and no worker keeps it longer (below).
        let pointer =
            JobPointer(unsafe { std::mem::transmute::<*const (dyn Job + '_), *const (dyn Job + 'static)>(job) });
        *shared.job.lock().unwrap_or_else(|e| e.into_inner()) = Some(pointer);
        let threads = self.workers.len() as i64 + 1;
        for (t, share) in (0..).zip(&shared.shares) {
            share.next.store(tasks * t / threads, Ordering::Relaxed);
            share.end.store((tasks * (t + 1) / threads).min(tasks), Ordering::Relaxed);
        }
        shared.chunk.store(chunk.max(1), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.parked.load(Ordering::SeqCst) > 0 {
            self.handles.iter().for_each(Thread::unpark);
        }
        shared.claim(job, 0);
        // No worker enters from here on; those inside finish their chunks.
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        while shared.active.load(Ordering::SeqCst) > 0 {
            std::hint::spin_loop();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.handles.iter().for_each(Thread::unpark);
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to release.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn claim(&self, job: &dyn Job, thread: usize) {
        let chunk = self.chunk.load(Ordering::Relaxed);
        let count = self.shares.len();
        for share in (0..count).map(|i| &self.shares[(thread + i) % count]) {
            let end = share.end.load(Ordering::Relaxed);
            loop {
                let begin = share.next.fetch_add(chunk, Ordering::Relaxed);
                if begin >= end {
                    break;
                }
                job.run(thread, begin, (begin + chunk).min(end));
            }
        }
    }

    fn work(&self, thread: usize) {
        self.started.fetch_add(1, Ordering::SeqCst);
        let mut seen = 0;
        loop {
            let Some(epoch) = self.wait(seen) else { return };
            seen = epoch;
            self.active.fetch_add(1, Ordering::SeqCst);
            // The job may have closed between the look and the entry: then it must not be touched.
            if self.epoch.load(Ordering::SeqCst) == epoch {
                let job = *self.job.lock().unwrap_or_else(|e| e.into_inner());
                if let Some(JobPointer(job)) = job {
                    // SAFETY: the epoch is open and we are counted in `active`, so `Pool::run` still borrows the job.
                    self.claim(unsafe { &*job }, thread);
                }
            }
            self.active.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The next open epoch after `seen`; `None` when the pool ends.
    fn wait(&self, seen: u64) -> Option<u64> {
        let open = || {
            let epoch = self.epoch.load(Ordering::SeqCst);
            (epoch != seen && epoch % 2 == 1).then_some(epoch)
        };
        loop {
            for _ in 0..SPINS {
                if let Some(epoch) = open() {
                    return Some(epoch);
                }
                std::hint::spin_loop();
            }
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            self.parked.fetch_add(1, Ordering::SeqCst);
            if open().is_none() && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            self.parked.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(Vec<AtomicI64>);

    impl Job for Count {
        fn run(&self, _: usize, begin: i64, end: i64) {
            (begin..end).for_each(|i| {
                self.0[i as usize].fetch_add(1, Ordering::Relaxed);
            });
        }
    }

    #[test]
    fn every_task_runs_once() {
        for threads in 1..4 {
            let mut pool = Pool::new(threads);
            for round in 0..300 {
                let tasks = 1 + round % 37;
                let job = Count((0..tasks).map(|_| AtomicI64::new(0)).collect());
                pool.run(&job, tasks, 1 + round % 3);
                assert!(job.0.iter().all(|n| n.load(Ordering::Relaxed) == 1));
            }
        }
    }
}

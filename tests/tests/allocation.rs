//! A call with the sizes of the one before allocates nothing, on any thread. Alone in its program: the allocator that
//! counts is everybody's.

use nnc::{Elem, Tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(f: impl FnOnce()) -> usize {
    let before = CALLS.load(Ordering::SeqCst);
    f();
    CALLS.load(Ordering::SeqCst) - before
}

#[test]
fn a_call_with_known_sizes_allocates_nothing() {
    assert_ne!(counted(|| drop(std::hint::black_box(Box::new(1)))), 0, "the allocator does not count");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bert: &[(&str, i64)] = &[("vocab", 50), ("dim", 64), ("layers", 2), ("heads", 2)];
    let lstm: &[(&str, i64)] = &[("vocab", 50), ("dim", 40), ("layers", 2)];
    let gpt2: &[(&str, i64)] = &[("vocab", 50), ("context", 40), ("dim", 32), ("layers", 2), ("heads", 2)];
    let token = |elem| Tensor::from_f64(elem, &[2, 33], vec![1.0; 66]);
    let cases = [
        ("benches/add.nn", &[][..], vec![Tensor::new(&[1], &[1f32]), Tensor::new(&[1], &[2f32])]),
        ("dsl-examples/mnist_mlp.nn", &[], vec![Tensor::zeros(Elem::F32, &[64, 28, 28])]),
        ("dsl-examples/bert_encoder.nn", bert, vec![token(Elem::I32), token(Elem::I32), token(Elem::Bool)]),
        ("dsl-examples/lstm_lm.nn", lstm, vec![token(Elem::I32)]),
        ("dsl-examples/gpt2.nn", gpt2, vec![token(Elem::I32), Tensor::new(&[], &[5i32])]),
    ];
    for (file, defines, inputs) in cases {
        let compiler = nnc::compile(root.join(file)).unwrap();
        let compiler = defines.iter().fold(compiler, |c, (name, value)| c.define(*name, value));
        let program = compiler.build().unwrap_or_else(|e| panic!("{e}")).with_random_weights(1).unwrap();
        for threads in [1, 2] {
            let mut session = program.session(threads);
            // The last entry of GPT-2 is the one with a cache.
            let entry = program.entries().len() - 1;
            let name = program.entries()[entry].name.clone();
            let mut results = session.call(&name, &inputs).unwrap();
            session.call_into(entry, &inputs, &mut results).unwrap();
            let calls = counted(|| {
                for _ in 0..20 {
                    session.call_into(entry, &inputs, &mut results).unwrap();
                }
            });
            assert_eq!(calls, 0, "{file} on {threads} threads");
        }
    }
}

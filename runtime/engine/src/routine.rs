//! Operators that are no loop nests. A routine is called like a kernel: a table with the error word, the buffers, the
//! sizes, and scratch memory, and a range of tasks. Buffers are row-major; an element type is the place in [`Elem::ALL`].
//!
//! Arrays are seen as `[outer, n, inner]` around the axis that counts; tasks are the steps of `outer`.

use crate::code::INDEX_OUT_OF_RANGE;
use half::{bf16, f16};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::atomic::{AtomicI64, Ordering as Memory};
use tensor::Elem;

/// What a routine does with elements.
trait Element: Copy {
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn is_nan(self) -> bool;
    /// Ascending, NaN behind all numbers.
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! floats {
    ($($ty:ty),*) => {$(
        impl Element for $ty {
            fn add(self, other: Self) -> Self {
                self + other
            }

            fn mul(self, other: Self) -> Self {
                self * other
            }

            fn is_nan(self) -> bool {
                self.is_nan()
            }

            fn order(&self, other: &Self) -> Ordering {
                self.partial_cmp(other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
            }
        }
    )*};
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Element for $ty {
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }

            fn is_nan(self) -> bool {
                false
            }

            fn order(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}

floats!(f64, f32, f16, bf16);
integers!(i64, i32, i16, i8, u64, u32, u16, u8);

/// Calls a function for one element type by its number.
macro_rules! for_elem {
    ($number:expr, $function:ident($($argument:expr),*)) => {
        match Elem::ALL[$number] {
            Elem::F64 => $function::<f64>($($argument),*),
            Elem::F32 => $function::<f32>($($argument),*),
            Elem::F16 => $function::<f16>($($argument),*),
            Elem::Bf16 => $function::<bf16>($($argument),*),
            Elem::I64 => $function::<i64>($($argument),*),
            Elem::I32 => $function::<i32>($($argument),*),
            Elem::I16 => $function::<i16>($($argument),*),
            Elem::I8 => $function::<i8>($($argument),*),
            Elem::U64 => $function::<u64>($($argument),*),
            Elem::U32 => $function::<u32>($($argument),*),
            Elem::U16 => $function::<u16>($($argument),*),
            Elem::U8 | Elem::Bool => $function::<u8>($($argument),*),
        }
    };
}

/// An element as it lies in a buffer: what a caller gives may start at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Raw<T>(T);

/// The table of a call.
#[derive(Clone, Copy)]
struct Table {
    slots: *const u64,
    buffers: usize,
}

// SAFETY of all functions below that are unsafe: whoever calls a routine gives it a table as the routine expects it, its
// buffers of the sizes that its sizes say.
impl Table {
    unsafe fn slot(self, index: usize) -> u64 {
        // SAFETY: as above.
        unsafe { *self.slots.add(index) }
    }

    /// The elements of a buffer from one of them on.
    unsafe fn read<'a, T>(self, buffer: usize, from: usize, len: usize) -> &'a [Raw<T>] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts((self.slot(1 + buffer) as *const Raw<T>).add(from), len) }
    }

    /// Elements that only this task writes.
    unsafe fn write<'a, T>(self, buffer: usize, from: usize, len: usize) -> &'a mut [Raw<T>] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut((self.slot(1 + buffer) as *mut Raw<T>).add(from), len) }
    }

    unsafe fn size(self, index: usize) -> usize {
        // SAFETY: as above.
        unsafe { self.slot(1 + self.buffers + index) as usize }
    }

    unsafe fn signed(self, index: usize) -> i64 {
        // SAFETY: as above.
        unsafe { self.size(index) as i64 }
    }

    /// One of the integers in a buffer.
    unsafe fn index(self, buffer: usize, elem: usize, at: usize) -> i64 {
        unsafe fn read<T: Copy + TryInto<i64>>(table: Table, buffer: usize, at: usize) -> i64 {
            // SAFETY: as above.
            let Raw(value) = unsafe { table.read::<T>(buffer, at, 1)[0] };
            // What does not fit is no index either.
            value.try_into().unwrap_or(-1)
        }
        // SAFETY: as above.
        unsafe {
            match Elem::ALL[elem] {
                Elem::I64 => read::<i64>(self, buffer, at),
                Elem::I32 => read::<i32>(self, buffer, at),
                Elem::I16 => read::<i16>(self, buffer, at),
                Elem::I8 => read::<i8>(self, buffer, at),
                Elem::U64 => read::<u64>(self, buffer, at),
                Elem::U32 => read::<u32>(self, buffer, at),
                Elem::U16 => read::<u16>(self, buffer, at),
                _ => read::<u8>(self, buffer, at),
            }
        }
    }

    /// The error word, which kernels of other threads may set too.
    unsafe fn error<'a>(self) -> &'a AtomicI64 {
        // SAFETY: the first slot points to it.
        unsafe { AtomicI64::from_ptr(self.slot(0) as *mut i64) }
    }

    unsafe fn fail(self, bit: i64) {
        // SAFETY: as above.
        unsafe { self.error().fetch_or(bit, Memory::Relaxed) };
    }

    unsafe fn has_failed(self) -> bool {
        // SAFETY: as above.
        unsafe { self.error().load(Memory::Relaxed) != 0 }
    }
}

/// `y` is `x` with each element combined with those before it. Sizes: outer, element type, kind (sum, prod, max, min), n,
/// inner.
pub unsafe fn prefix(slots: *const u64, begin: i64, end: i64) {
    unsafe fn run<T: Element>(table: Table, tasks: std::ops::Range<i64>) {
        // SAFETY: as in `Table`.
        let [kind, n, inner] = unsafe { [2, 3, 4].map(|i| table.size(i)) };
        let combine: fn(T, T) -> T = match kind {
            0 => T::add,
            1 => T::mul,
            2 => |a, b| if b.is_nan() || b.order(&a).is_gt() && !a.is_nan() { b } else { a },
            _ => |a, b| if b.is_nan() || b.order(&a).is_lt() && !a.is_nan() { b } else { a },
        };
        for task in tasks {
            let (from, len) = (task as usize * n * inner, n * inner);
            // SAFETY: as in `Table`.
            let (x, y) = unsafe { (table.read::<T>(0, from, len), table.write::<T>(1, from, len)) };
            let first = inner.min(len);
            y[..first].copy_from_slice(&x[..first]);
            for at in first..len {
                y[at] = Raw(combine(y[at - inner].0, x[at].0));
            }
        }
    }
    let table = Table { slots, buffers: 2 };
    // SAFETY: as in `Table`.
    unsafe { for_elem!(table.size(1), run(table, begin..end)) }
}

thread_local! {
    /// Room for the order of one row, kept so that calls do not allocate.
    static ORDER: RefCell<Vec<i32>> = const { RefCell::new(vec![]) };
}

/// The first `count` elements of each row of `x` in order, equal ones as they stand, and where they stood. Sizes: outer,
/// element type, whether descending, n, inner, count.
pub unsafe fn order(slots: *const u64, begin: i64, end: i64) {
    unsafe fn run<T: Element>(table: Table, tasks: std::ops::Range<i64>) {
        // SAFETY: as in `Table`.
        let [descending, n, inner, count] = unsafe { [2, 3, 4, 5].map(|i| table.size(i)) };
        for task in tasks {
            let (from, to) = (task as usize * n * inner, task as usize * count * inner);
            // SAFETY: as in `Table`.
            let x = unsafe { table.read::<T>(0, from, n * inner) };
            let (values, indices) =
                unsafe { (table.write::<T>(1, to, count * inner), table.write::<i32>(2, to, count * inner)) };
            for column in 0..inner {
                let compare = |a: &i32, b: &i32| {
                    let [Raw(x), Raw(y)] = [a, b].map(|index| x[*index as usize * inner + column]);
                    let order = x.order(&y);
                    let order = if descending != 0 { order.reverse() } else { order };
                    order.then(a.cmp(b))
                };
                ORDER.with_borrow_mut(|first| {
                    first_in_order(first, n, count, compare);
                    for (place, index) in first.iter().enumerate() {
                        values[place * inner + column] = x[*index as usize * inner + column];
                        indices[place * inner + column] = Raw(*index);
                    }
                });
            }
        }
    }
    let table = Table { slots, buffers: 3 };
    // SAFETY: as in `Table`.
    unsafe { for_elem!(table.size(1), run(table, begin..end)) }
}

/// The first `count` of `0..n` in an order without equals: some are sorted, then the others are put among them.
fn first_in_order(first: &mut Vec<i32>, n: usize, count: usize, compare: impl Fn(&i32, &i32) -> Ordering) {
    first.clear();
    first.extend(0..count as i32);
    first.sort_unstable_by(&compare);
    for index in count..n {
        let index = index as i32;
        if first.last().is_some_and(|last| compare(&index, last).is_lt()) {
            let place = first.partition_point(|other| compare(other, &index).is_lt());
            first.copy_within(place..count - 1, place + 1);
            first[place] = index;
        }
    }
}

/// `x` with elements of `y` at places along the axis that `i` names. Sizes: outer, element type, that of `i`, mode (set,
/// mul, min, max, add), n of `x`, inner, n of `i`.
pub unsafe fn scatter(slots: *const u64, begin: i64, end: i64) {
    unsafe fn run<T: Element>(table: Table, tasks: std::ops::Range<i64>) {
        // SAFETY: as in `Table`.
        let [elem, mode, n, inner, m] = unsafe { [2, 3, 4, 5, 6].map(|i| table.size(i)) };
        let combine: fn(T, T) -> T = match mode {
            0 => |_, new| new,
            1 => T::mul,
            2 => |old, new| if !new.is_nan() && (old.is_nan() || new.order(&old).is_lt()) { new } else { old },
            3 => |old, new| if !new.is_nan() && (old.is_nan() || new.order(&old).is_gt()) { new } else { old },
            _ => T::add,
        };
        for task in tasks {
            let (to, from) = (task as usize * n * inner, task as usize * m * inner);
            // SAFETY: as in `Table`.
            let (x, out) = unsafe { (table.read::<T>(0, to, n * inner), table.write::<T>(3, to, n * inner)) };
            let y = unsafe { table.read::<T>(2, from, m * inner) };
            out.copy_from_slice(x);
            for (at, Raw(y)) in y.iter().copied().enumerate() {
                // SAFETY: as in `Table`.
                let index = unsafe { table.index(1, elem, from + at) };
                match usize::try_from(index).ok().filter(|i| *i < n) {
                    Some(index) => {
                        let place = &mut out[index * inner + at % inner];
                        *place = Raw(combine(place.0, y));
                    }
                    // SAFETY: as in `Table`.
                    None => unsafe { table.fail(INDEX_OUT_OF_RANGE) },
                }
            }
        }
    }
    let table = Table { slots, buffers: 4 };
    // SAFETY: as in `Table`.
    unsafe { for_elem!(table.size(1), run(table, begin..end)) }
}

/// `x` with `y` in place of a part of it that begins where `start` says. The result may lie where `x` does; then it is not
/// touched in a call that has failed already. Sizes: 1, bytes of an element, element type of
/// `start`, rank, dims of `x`, dims of `y`.
pub unsafe fn update_at(slots: *const u64, begin: i64, end: i64) {
    if begin >= end {
        return;
    }
    let table = Table { slots, buffers: 4 };
    // SAFETY: as in `Table`.
    unsafe {
        let [bytes, elem, rank] = [1, 2, 3].map(|i| table.size(i));
        let whole = |axis: usize| table.size(4 + axis);
        let part = |axis: usize| table.size(4 + rank + axis);
        let start = |axis: usize| table.index(1, elem, axis);
        let all = (0..rank).map(whole).product::<usize>() * bytes;
        let in_place = table.slot(1) == table.slot(4);
        if in_place && table.has_failed() {
            return;
        }
        let out = table.write::<u8>(3, 0, all);
        if !in_place {
            out.copy_from_slice(table.read::<u8>(0, 0, all));
        }
        let fits = |axis: usize| {
            usize::try_from(start(axis)).ok().and_then(|s| s.checked_add(part(axis))).is_some_and(|e| e <= whole(axis))
        };
        if !(0..rank).all(fits) {
            return table.fail(INDEX_OUT_OF_RANGE);
        }
        // Runs of the last axis lie together in both.
        let run = rank.checked_sub(1).map_or(1, part) * bytes;
        let runs = (0..rank.saturating_sub(1)).map(part).product::<usize>();
        let y = table.read::<u8>(2, 0, run * runs);
        for number in 0..runs {
            let (mut rest, mut stride) = (number, bytes);
            let mut at = 0;
            for axis in (0..rank).rev() {
                let index = if axis + 1 == rank { 0 } else { rest % part(axis) };
                rest = if axis + 1 == rank { rest } else { rest / part(axis) };
                at += (start(axis) as usize + index) * stride;
                stride *= whole(axis);
            }
            out[at..at + run].copy_from_slice(&y[number * run..][..run]);
        }
    }
}

/// Where in its image the largest element of each window stands. Sizes: images, element type, axes, and for each axis n
/// of `x`, n of the result, window, stride, padding before, dilation.
pub unsafe fn argmax_pool(slots: *const u64, begin: i64, end: i64) {
    unsafe fn run<T: Element>(table: Table, tasks: std::ops::Range<i64>) {
        // SAFETY of the sizes: as in `Table`.
        let axes = unsafe { table.size(2) };
        let size = |axis: usize, what: usize| unsafe { table.signed(3 + 6 * axis + what) };
        let all = |what: usize| (0..axes).map(|a| size(a, what)).product::<i64>() as usize;
        let (image, results, window) = (all(0), all(1), all(2));
        for task in tasks {
            // SAFETY: as in `Table`.
            let (x, y) = unsafe {
                let task = task as usize;
                (table.read::<T>(0, task * image, image), table.write::<i32>(1, task * results, results))
            };
            for (result, y) in y.iter_mut().enumerate() {
                let mut most: Option<usize> = None;
                for tap in 0..window {
                    let (mut result, mut tap) = (result as i64, tap as i64);
                    let (mut at, mut stride, mut inside) = (0, 1, true);
                    for axis in (0..axes).rev() {
                        let [n, m, k, step, pad, dilation] = std::array::from_fn(|what| size(axis, what));
                        let index = result % m * step + tap % k * dilation - pad;
                        (result, tap) = (result / m, tap / k);
                        inside &= (0..n).contains(&index);
                        at += index * stride;
                        stride *= n;
                    }
                    // The first of equal ones, of NaNs too.
                    let larger = |most: usize| {
                        let [Raw(new), Raw(old)] = [at as usize, most].map(|at| x[at]);
                        new.order(&old).is_gt()
                    };
                    if inside && most.is_none_or(larger) {
                        most = Some(at as usize);
                    }
                }
                *y = Raw(most.unwrap_or(0) as i32);
            }
        }
    }
    let table = Table { slots, buffers: 2 };
    // SAFETY: as in `Table`.
    unsafe { for_elem!(table.size(1), run(table, begin..end)) }
}

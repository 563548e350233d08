//! Schedules change how a kernel runs, never what it computes: the scheduled form is interpreted and compared with the
//! nest, over sizes that cross every tile edge.

use kernel::*;

mod kernels;

use kernels::*;

/// Runs both levels on random inputs and returns the largest difference. Layouts of arguments are left alone.
fn difference(kernel: &Kernel, schedule: &str, sizes: &[i64]) -> f64 {
    let schedule: Schedule = schedule.parse().unwrap();
    let applied = apply(kernel, &schedule, 16).unwrap_or_else(|e| panic!("{e}\n{schedule}"));
    let extent = |e: &Extent| match e {
        Extent::Const(n) => *n,
        Extent::Size(s) => sizes[s.index()],
    };
    let len = |b: &Buffer| b.dims.iter().map(extent).product::<i64>() as usize;
    let mut data: Vec<Vec<f64>> =
        kernel.buffers.iter().enumerate().map(|(i, b)| values(len(b), i as u64 + 7)).collect();
    let mut flat = data.clone();
    flat.resize(applied.storage.len(), vec![]);
    interpret::nest(kernel, sizes, &mut data).unwrap();
    interpret::scheduled(&applied, sizes, &mut flat).unwrap_or_else(|e| panic!("{e}\n{schedule}\n{applied:#?}"));
    let out = kernel.buffers.iter().position(|b| b.role == Role::Out).unwrap();
    data[out]
        .iter()
        .zip(&flat[out])
        .map(|(a, b)| if b.is_nan() { f64::INFINITY } else { (a - b).abs() })
        .fold(0.0, f64::max)
}

fn check(kernel: &Kernel, schedule: &str, sizes: &[i64]) {
    let worst = difference(kernel, schedule, sizes);
    // Sums of at most a thousand products of magnitude at most 1/4, each rounded to f32.
    assert!(worst < 1e-5, "{worst} with sizes {sizes:?}:\n{schedule}");
}

const TILE: &str = "split j 32 jo jt; split jt 16 jv l; split k 4 ko ki; nest jo io { C: ko ki* ii* jv* l@ }";

#[test]
fn products_in_register_tiles() {
    for (m, n, depth) in [(37, 50, 19), (14, 32, 4), (1, 16, 1), (30, 70, 33)] {
        for rows in ["split i even 14 io ii", "split i 14 io ii", "split i shift 14 io ii"] {
            check(&product(Some(m), n, depth), &format!("{rows}; {TILE}"), &[]);
        }
    }
}

#[test]
fn blocked_reduction_keeps_partial_results_in_the_target() {
    let schedule = "split i 14 io ii; split j 32 jo jt; split jt 16 jv l; split k 32 kb kk; split kk 4 ko ki;\
                    nest kb jo io { C: ko ki* ii* jv* l@ }";
    for depth in [20, 32, 64, 70, 130] {
        check(&product(Some(20), 37, depth), schedule, &[]);
    }
}

#[test]
fn rows_known_only_when_running() {
    let kernel = product(None, 40, 20);
    for m in [1, 2, 3, 7, 13, 14, 15, 28, 37, 300] {
        check(&kernel, &format!("split i chain 14+8+4+2+1 io ii; {TILE}"), &[m]);
    }
}

#[test]
fn tasks_of_a_parallel_loop() {
    let kernel = product(None, 40, 20);
    for m in [1, 14, 37] {
        check(&kernel, "split i chain 14+4+1 io ii; split j 16 jo l; nest io| jo { C: k ii* l@ }", &[m]);
    }
}

#[test]
fn padded_convolution_with_borders() {
    let schedule = "split x 14 xo xi; split o 32 ob ot; split ot 16 ov l; border y 1 1; border xo 1 1;\
                    nest ob y xo { Y: c u v! xi* ov* l@ }";
    check(&convolution(5, 40, 13, 15, 3, 1), schedule, &[]);
    check(&convolution(3, 20, 6, 29, 5, 2), &schedule.replace("border y 1 1", "border y 2 2"), &[]);
    // Lanes along the image: what padding decides within a vector stays a guard.
    check(
        &convolution(4, 9, 7, 33, 3, 1),
        "split x 16 xo l; split o even 7 ob oi; nest y ob { Y: c u! v! oi* xo* l@ }",
        &[],
    );
}

#[test]
fn row_stages_share_registers_and_scratch() {
    let schedule = "split c 64 co ct; split ct 16 cu l; register m s; layout e 1 local r;\
                    nest r { m: co cu+ l@, e s: co cu+ l@, Y: co cu* l@ }";
    for n in [1, 16, 64, 83, 100, 128, 147] {
        check(&softmax(7, n.into(), &[]), schedule, &[]);
    }
    let two_rows = "split r 2 ro ri; split c 64 co ct; split ct 16 cu l; register m s; layout e 0 1 local ro;\
                    nest ro { m: co ri* cu+ l@, e s: co ri* cu+ l@, Y: co ri* cu* l@ }";
    check(&softmax(7, 100.into(), &[]), two_rows, &[]);
}

#[test]
fn row_length_known_only_when_running() {
    let size = Size { name: "n".into(), min: 1, max: Some(512) };
    let kernel = softmax(5, SizeId(0).into(), &[size]);
    let schedule = "split c chain 64+16+mask co ct; split ct 16 cu l; register m s; layout e 1 local r;\
                    nest r { m: co cu+ l@, e s: co cu+ l@, Y: co cu* l@ }";
    for n in [1, 7, 16, 32, 64, 83, 100, 511] {
        check(&kernel, schedule, &[n]);
    }
}

#[test]
fn blocks_and_threads() {
    let tile = "split i 32 io it; split it 4 ii ir; split j 32 jo jt; split jt 4 jj jr; split k 8 kq kt;\
                stage A as P; stage B as Q; layout P 0 1 local io; layout Q 0 1 local jo;\
                nest io.by jo.bx { P: ii.ty ir kq kt.tx, Q: kq kt.ty jj.tx jr, C: ii.ty jj.tx k ir* jr* }";
    for (m, n, depth) in [(64, 64, 16), (37, 50, 19), (1, 3, 2)] {
        check(&product(Some(m), n, depth), tile, &[]);
    }
    // Reductions across the threads of a block, a row each.
    let row =
        "split c 128 co ct; register m s; layout e 1 local r; nest r.bx { m: co ct.tx, e s: co ct.tx, Y: co ct.tx }";
    let both = "split c 128 co cq; split cq 4 ct l; register m s; layout e 1 local r;\
                nest r.bx { m: co ct.tx l@, e s: co ct.tx l@, Y: co ct.tx l@ }";
    let strided = "split c 4 ct ci; register m s; layout e 1 local r;\
                   nest r.bx { m: ct.tx ci, e s: ct.tx ci, Y: ct.tx ci }";
    for n in [1, 16, 83, 128, 300] {
        for schedule in [row, both, strided] {
            check(&softmax(7, n.into(), &[]), schedule, &[]);
        }
    }
}

#[test]
fn a_staged_copy_transposes() {
    let mut k = product(Some(20), 50, 24);
    k.name = "staged".into();
    let schedule = "stage A as P; split i 14 io ii; split j 16 jo l; layout P 1 0;\
                    nest P: i k, jo io { C: k ii* l@ }";
    check(&k, schedule, &[]);
}

#[test]
fn illegal_schedules_are_refused() {
    let refuse = |text: &str| apply(&product(Some(20), 37, 70), &text.parse().unwrap(), 16).unwrap_err().to_string();
    assert_eq!(refuse("nest q { C: i j k }"), "no variable `q`");
    assert_eq!(refuse("nest i { D: j k }"), "no stage computes `D`");
    assert_eq!(refuse("nest C: k i j"), "a loop inside the reduction over `k` is neither reduced nor unrolled");
    let mut deep = product(Some(20), 37, 70);
    let depth = deep.size("d", 1, Some(70));
    deep.axes[2].extent = depth.into();
    let blocked = "split k chain 16+mask ko ki; nest ko { C: i j ki }".parse().unwrap();
    assert_eq!(
        apply(&deep, &blocked, 16).unwrap_err().to_string(),
        "blocks of a reduction over `ko`, whose number is known only when running"
    );
    assert_eq!(refuse("layout B 7; nest C: i j k"), "`B` has no dim 7");
    assert_eq!(refuse("split i 9335203685 io ii; nest C: io ii j k"), "`i` is split by 9335203685");
    assert_eq!(
        refuse("layout B 0%999999999999 1%999999999999; nest C: i j k"),
        "`B` has more elements than can be counted"
    );
    assert_eq!(refuse("split i chain 4+0 io ii; nest C: io ii j k"), "`i` is split by 0");
    assert_eq!(refuse("nest i { C: j i k }"), "`i` stands twice in one nest");
}

#[test]
fn text_of_both_levels() {
    let kernel = product(None, 40, 20);
    let schedule = "split i chain 4+1 io ii; split j 16 jo l; nest jo { C: io k ii* l@ }".parse().unwrap();
    insta::assert_snapshot!(format!("{kernel}\n{}", apply(&kernel, &schedule, 16).unwrap()));
}

//! Kernels that several tests schedule, written as operators write them.

use kernel::*;

pub fn load(k: &mut Kernel, buffer: BufferId, at: &[VarId]) -> ExprId {
    k.load(buffer, at.iter().map(|v| Subscript::from(*v)).collect())
}

pub fn store(k: &mut Kernel, name: &str, axes: &[VarId], value: ExprId) {
    let dims: Vec<Extent> = axes.iter().map(|a| k.axes[a.index()].extent).collect();
    let out = k.buffer(name, Role::Out, Elem::F32, &dims);
    k.stage(out, axes.iter().map(|v| Affine::var(*v)).collect(), value);
}

/// C = relu(A B + bias), rows counted by an extent that may be known only when running.
pub fn product(rows: Option<i64>, n: i64, depth: i64) -> Kernel {
    let mut k = Kernel::new("product");
    let m = match rows {
        Some(m) => Extent::Const(m),
        None => k.size("m", 1, Some(600)).into(),
    };
    let (i, j, p) = (k.axis("i", m), k.axis("j", n), k.axis("k", depth));
    let a = k.buffer("A", Role::In, Elem::F32, &[m, depth.into()]);
    let b = k.buffer("B", Role::Const, Elem::F32, &[depth.into(), n.into()]);
    let bias = k.buffer("bias", Role::Const, Elem::F32, &[n.into()]);
    let (x, w) = (load(&mut k, a, &[i, p]), load(&mut k, b, &[p, j]));
    let xw = k.exprs.mul(x, w);
    let sum = k.exprs.reduce(Combine::Sum, &[p], xw);
    let bias = load(&mut k, bias, &[j]);
    let y = k.exprs.add(sum, bias);
    let zero = k.exprs.constant(Elem::F32, 0.0);
    let y = k.exprs.binary(Binary::Max, zero, y);
    store(&mut k, "C", &[i, j], y);
    k
}

pub fn convolution(channels: i64, out: i64, h: i64, w: i64, taps: i64, stride: i64) -> Kernel {
    let mut k = Kernel::new("convolution");
    let (o, y, x) = (k.axis("o", out), k.axis("y", h), k.axis("x", w));
    let (c, u, v) = (k.axis("c", channels), k.axis("u", taps), k.axis("v", taps));
    let input = k.buffer("X", Role::In, Elem::F32, &[channels.into(), (h * stride).into(), (w * stride).into()]);
    let weight = k.buffer("W", Role::Const, Elem::F32, &[out.into(), channels.into(), taps.into(), taps.into()]);
    let tap = |a: VarId, t: VarId| Affine::var(a).times(stride) + Affine::var(t).offset(-(taps / 2));
    let at = vec![Subscript::from(c), Subscript::from(tap(y, u)), Subscript::from(tap(x, v))];
    let read = k.load_padded(input, at, Literal::of(Elem::F32, 0.0));
    let w = load(&mut k, weight, &[o, c, u, v]);
    let product = k.exprs.mul(read, w);
    let sum = k.exprs.reduce(Combine::Sum, &[c, u, v], product);
    store(&mut k, "Y", &[o, y, x], sum);
    k
}

pub fn softmax(rows: i64, n: Extent, sizes: &[Size]) -> Kernel {
    let mut k = Kernel::new("softmax");
    k.sizes = sizes.to_vec();
    let (r, c) = (k.axis("r", rows), k.axis("c", n));
    let x = k.buffer("X", Role::In, Elem::F32, &[rows.into(), n]);
    let m = k.buffer("m", Role::Temp, Elem::F32, &[rows.into()]);
    let e = k.buffer("e", Role::Temp, Elem::F32, &[rows.into(), n]);
    let s = k.buffer("s", Role::Temp, Elem::F32, &[rows.into()]);
    let read = load(&mut k, x, &[r, c]);
    let most = k.exprs.reduce(Combine::Max, &[c], read);
    k.stage(m, vec![r.into()], most);
    let most = load(&mut k, m, &[r]);
    let shifted = k.exprs.sub(read, most);
    let exp = k.exprs.unary(Unary::Exp, shifted);
    k.stage(e, vec![r.into(), c.into()], exp);
    let exp = load(&mut k, e, &[r, c]);
    let total = k.exprs.reduce(Combine::Sum, &[c], exp);
    let one = k.exprs.constant(Elem::F32, 1.0);
    let inverse = k.exprs.div(one, total);
    k.stage(s, vec![r.into()], inverse);
    let inverse = load(&mut k, s, &[r]);
    let y = k.exprs.mul(exp, inverse);
    store(&mut k, "Y", &[r, c], y);
    k
}

pub fn values(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) as f64
    };
    (0..len).map(|_| next()).collect()
}

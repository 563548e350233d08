"""Expected values for pieces of the standard library, from their definitions, in numpy.

Writes expected.json beside this file: models, what they are given, and what must come out.
Run: python3 reference.py
"""

import json
import math
import pathlib

import numpy as np

rng = np.random.default_rng(1)
cases = []


def numbers(*shape, low=-2.0, high=2.0):
    """Few digits, so that the file stays small."""
    return np.round(rng.uniform(low, high, shape), 2)


def case(name, text, given, expected):
    pack = lambda a: {"shape": list(np.shape(a)), "data": [float(f"{x:.9g}") for x in np.asarray(a, dtype=float).ravel()]}
    cases.append({
        "name": name,
        "text": text,
        "given": {k: pack(v) for k, v in given.items()},
        "expected": {k: pack(v) for k, v in expected.items()},
    })


def ty(a, elem=""):
    return f"{elem}[{', '.join(map(str, np.shape(a)))}]"


def function(call, x, y, name=None):
    """One tensor in, one out."""
    case(name or call, f"model M(x: {ty(x)}) -> (y: {ty(y)}) = {call}", {"x": x}, {"y": y})


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


erf = np.vectorize(math.erf)
softplus = lambda x: np.log1p(np.exp(x))
gelu = lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2)))
silu = lambda x: x * sigmoid(x)

# ── activations ───────────────────────────────────────────────────────────────
x = numbers(7)
x[3] = 0.25
where = np.where
for call, y in {
    "relu(x)": np.maximum(x, 0),
    "relu6(4 * x)": np.clip(4 * x, 0, 6),
    "leaky_relu(x, 0.1)": where(x > 0, x, 0.1 * x),
    "threshold(x, 0.5, 9)": where(x > 0.5, x, 9),
    "silu(x)": silu(x),
    "elu(x, 0.5)": where(x > 0, x, 0.5 * (np.exp(x) - 1)),
    "celu(x, 0.5)": where(x > 0, x, 0.5 * (np.exp(x / 0.5) - 1)),
    "selu(x)": 1.0507009873554805 * where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    "softplus(x, 2)": np.log1p(np.exp(2 * x)) / 2,
    "logsigmoid(x)": np.log(sigmoid(x)),
    "softsign(x)": x / (1 + abs(x)),
    "mish(x)": x * np.tanh(softplus(x)),
    "hardtanh(x, -0.5, 1.5)": np.clip(x, -0.5, 1.5),
    "hard_sigmoid(4 * x)": np.clip(4 * x / 6 + 0.5, 0, 1),
    "hard_swish(4 * x)": 4 * x * np.clip(4 * x / 6 + 0.5, 0, 1),
    "hardshrink(x)": where(abs(x) > 0.5, x, 0),
    "softshrink(x)": where(x > 0.5, x - 0.5, where(x < -0.5, x + 0.5, 0)),
    "tanhshrink(x)": x - np.tanh(x),
    "gelu(x)": gelu(x),
    "quick_gelu(x)": x * sigmoid(1.702 * x),
    "softmin(x)": softmax(-x),
    "log_softmax(x)": np.log(softmax(x)),
    "logsumexp(x)": np.log(np.exp(x).sum()),
    "sign(x)": np.sign(x),
    "trunc(x)": np.trunc(x),
    "cumsum(x)": np.cumsum(x),
    "norm(x)": math.sqrt((x**2).sum()),
    "norm(x, 1)": abs(x).sum(),
    "norm(x, 3)": (abs(x) ** 3).sum() ** (1 / 3),
    "norm(x, inf)": abs(x).max(),
    "variance(x)": x.var(),
    "variance(x, correction = 1)": x.var(ddof=1),
    "roll(x, 2)": np.roll(x, 2),
    "repeat(x, 3)": np.concatenate([x] * 3),
    "asin(x / 3)": np.arcsin(x / 3),
    "acos(x / 3)": np.arccos(x / 3),
    "atan2(x, x - 1)": np.arctan2(x, x - 1),
    "asinh(x)": np.arcsinh(x),
    "acosh(x + 4)": np.arccosh(x + 4),
    "atanh(x / 3)": np.arctanh(x / 3),
    "unit_length(x)": x / math.sqrt((x**2).sum()),
}.items():
    function(call, x, y)

x = numbers(3, 8)
a, b = x[:, :4], x[:, 4:]
function("glu(x)", x, a * sigmoid(b))
function("reglu(x)", x, a * np.maximum(b, 0))
function("geglu(x)", x, a * gelu(b))
function("swiglu(x)", x, a * silu(b))
function("tril(x, 1)", x, np.tril(x, 1))
function("triu(x, -1)", x, np.triu(x, -1))
function("outer(x[0], x[1])", x, np.outer(x[0], x[1]))
function("flatten(x[:, none])", x, x)

# ── losses ────────────────────────────────────────────────────────────────────
a, b = numbers(4, 3), numbers(4, 3)


def loss(call, y, given):
    inputs = ", ".join(f"{k}: {ty(v, 'i32' if k == 'labels' else '')}" for k, v in given.items())
    case(call, f"model M({inputs}) -> (y: {ty(y)}) = {call}", given, {"y": y})


ab = {"a": a, "b": b}
d = abs(a - b)
loss("mse(a, b)", ((a - b) ** 2).mean(), ab)
loss('l1_loss(a, b, "sum")', d.sum(), ab)
loss('huber_loss(a, b, 0.7, "none")', where(d < 0.7, 0.5 * d * d, 0.7 * (d - 0.35)), ab)
loss("smooth_l1_loss(a, b, 0.7)", where(d < 0.7, 0.5 * d * d / 0.7, d - 0.35).mean(), ab)
labels = np.array([2, 0, 1, 2])
onehot = np.eye(3)[labels]
la = {"a": a, "labels": labels}
logp = np.log(softmax(a))
loss("cross_entropy(a, labels)", -(logp * onehot).sum(1).mean(), la)
smooth = onehot * 0.9 + 0.1 / 3
loss("cross_entropy(a, labels, smoothing = 0.1)", -(logp * smooth).sum(1).mean(), la)
ignored = {"a": a, "labels": np.array([2, -100, 1, 2])}
loss("cross_entropy(a, labels)", -(logp * onehot).sum(1)[[0, 2, 3]].mean(), ignored)
loss("nll_loss(log_softmax(a), labels)", -(logp * onehot).sum(1).mean(), la)
q = softmax(b)
p = sigmoid(a)
y01 = np.round(sigmoid(b), 2)
ay = {"a": a, "b": y01}
loss("bce(sigmoid(a), b)", -(y01 * np.log(p) + (1 - y01) * np.log(1 - p)).mean(), ay)
loss("bce_with_logits(a, b)", -(y01 * np.log(p) + (1 - y01) * np.log(1 - p)).mean(), ay)
loss('kl_div(log_softmax(a), softmax(b), "sum")', (q * (np.log(q) - logp)).sum(), ab)
loss("poisson_nll_loss(a, b)", (np.exp(a) - b * a).mean(), ab)
v = np.round(np.exp(b), 2)
loss("gaussian_nll_loss(a, b, c)", (0.5 * (np.log(v) + (a - b) ** 2 / v)).mean(), {"a": a, "b": b, "c": v})
signs = np.array([1.0, -1.0, -1.0, 1.0])
av = {"a": a[:, 0], "b": b[:, 0], "y": signs}
loss("margin_ranking_loss(a, b, y, 0.3)", np.maximum(0, -signs * (a[:, 0] - b[:, 0]) + 0.3).mean(), av)
loss("hinge_embedding_loss(a, y)", where(signs == 1, a[:, 0], np.maximum(0, 1 - a[:, 0])).mean(),
     {"a": a[:, 0], "y": signs})
loss("soft_margin_loss(a, y)", np.log(1 + np.exp(-signs * a[:, 0])).mean(), {"a": a[:, 0], "y": signs})
rows = [sum(max(0, 1 - a[i, labels[i]] + a[i, j]) for j in range(3) if j != labels[i]) / 3 for i in range(4)]
loss("multi_margin_loss(a, labels)", np.mean(rows), la)
multi = np.round(sigmoid(b))
loss("multilabel_soft_margin_loss(a, b)",
     -(multi * np.log(p) + (1 - multi) * np.log(1 - p)).mean(), {"a": a, "b": multi})
cos = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
loss("cosine_similarity(a, b)", cos, ab)
loss("cosine_embedding_loss(a, b, y, 0.1)", where(signs == 1, 1 - cos, np.maximum(0, cos - 0.1)).mean(),
     {"a": a, "b": b, "y": signs})
c = numbers(4, 3)
near = np.sqrt(((a - b + 1e-6) ** 2).sum(1))
far = np.sqrt(((a - c + 1e-6) ** 2).sum(1))
loss("triplet_margin_loss(a, b, c)", np.maximum(near - far + 1, 0).mean(), {"a": a, "b": b, "c": c})

# ── layers ────────────────────────────────────────────────────────────────────


def layer(call, x, params, y, name=None):
    case(name or call, f"model M(x: {ty(x)}) -> (y: {ty(y)}) = x |> l: {call}",
         {"x": x, **{f"l.{k}": v for k, v in params.items()}}, {"y": y})


x, w, bias = numbers(2, 3), numbers(4, 3), numbers(4)
layer("Linear(4)", x, {"weight": w, "bias": bias}, x @ w.T + bias)
z, w3 = numbers(2, 2), numbers(4, 3, 2)
case("Bilinear", "model M(x: [2, 3], z: [2, 2]) -> (y: [2, 4]) = x |> l: Bilinear(4)(z)",
     {"x": x, "z": z, "l.weight": w3, "l.bias": bias},
     {"y": np.einsum("sn,onm,sm->so", x, w3, z) + bias})
table, ids = numbers(5, 2), np.array([[1, 4, 0], [2, 2, 3]])
for mode, f in {"mean": np.mean, "sum": np.sum, "max": np.max}.items():
    case(f"EmbeddingBag {mode}", f'model M(x: i32[2, 3]) -> (y: [2, 2]) = x |> l: EmbeddingBag(5, 2, "{mode}")',
         {"x": ids, "l.weight": table}, {"y": f(table[ids], axis=1)})
x = numbers(2, 3, 4)
layer("Prelu(true)", x, {"weight": bias[:3]}, where(x > 0, x, bias[:3, None] * x))


def pad_with(x, pads, mode="constant"):
    return np.pad(x, [(0, 0), (0, 0)] + pads, mode=mode)


def convolve(x, w, bias, stride, pads, dilation, groups, mode="constant"):
    """Sums of products, one place at a time."""
    x = pad_with(x, pads, mode)
    n = x.ndim - 2
    out, part, k = w.shape[0], w.shape[1], w.shape[2:]
    spatial = [(x.shape[2 + i] - dilation[i] * (k[i] - 1) - 1) // stride[i] + 1 for i in range(n)]
    y = np.zeros([x.shape[0], out] + spatial)
    for o in range(out):
        first = o // (out // groups) * part
        for at in np.ndindex(*spatial):
            for j in np.ndindex(*k):
                place = tuple(at[i] * stride[i] + j[i] * dilation[i] for i in range(n))
                column = x[(slice(None), slice(first, first + part)) + place]
                y[(slice(None), o) + at] += column @ w[(o, slice(None)) + j]
    return y + bias.reshape([-1] + [1] * n)


x, w, bias = numbers(2, 4, 7), numbers(6, 2, 3), numbers(6)
layer("Conv1d(6, 3, stride = 2, pad = 1, groups = 2, dilation = 2)", x, {"weight": w, "bias": bias},
      convolve(x, w, bias, [2], [(1, 1)], [2], 2))
x, w, bias = numbers(1, 2, 5, 4), numbers(3, 2, 3, 2), numbers(3)
for mode, numpy_mode in {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}.items():
    layer(f'Conv2d(3, [3, 2], stride = [1, 2], pad = [1, (1, 0)], pad_mode = "{mode}")', x,
          {"weight": w, "bias": bias}, convolve(x, w, bias, [1, 2], [(1, 1), (1, 0)], [1, 1], 1, numpy_mode))
x, w, bias = numbers(1, 2, 3, 3, 3), numbers(2, 2, 2, 2, 2), numbers(2)
layer("Conv3d(2, 2)", x, {"weight": w, "bias": bias}, convolve(x, w, bias, [1] * 3, [(0, 0)] * 3, [1] * 3, 1))


def transposed(x, w, bias, stride, pad, more, groups):
    n = x.ndim - 2
    k, part = w.shape[2:], w.shape[1]
    whole = [(x.shape[2 + i] - 1) * stride + k[i] + more for i in range(n)]
    y = np.zeros([x.shape[0], part * groups] + whole)
    each = x.shape[1] // groups
    for c in range(x.shape[1]):
        first = c // each * part
        for at in np.ndindex(*x.shape[2:]):
            for j in np.ndindex(*k):
                place = tuple(at[i] * stride + j[i] for i in range(n))
                for o in range(part):
                    y[(slice(None), first + o) + place] += x[(slice(None), c) + at] * w[(c, o) + j]
    crop = tuple(slice(pad, size - pad) for size in whole)
    return y[(slice(None), slice(None)) + crop] + bias.reshape([-1] + [1] * n)


x, w, bias = numbers(1, 4, 3, 2), numbers(4, 2, 3, 3), numbers(2)
layer("ConvTranspose2d(2, 3, stride = 2, pad = 1)", x, {"weight": w, "bias": bias},
      transposed(x, w, bias, 2, 1, 0, 1))
layer("ConvTranspose2d(2, 3, stride = 2, pad = 1, output_pad = 1)", x, {"weight": w, "bias": bias},
      transposed(x, w, bias, 2, 1, 1, 1))
x, w, bias = numbers(2, 4, 3), numbers(4, 1, 2), numbers(2)
layer("ConvTranspose1d(2, 2, stride = 3, groups = 2)", x, {"weight": w, "bias": bias},
      transposed(x, w, bias, 3, 0, 0, 2))

# ── norms ─────────────────────────────────────────────────────────────────────
x, g, bias = numbers(2, 4, 3, 2), numbers(4), numbers(4)
chan = lambda v: v[:, None, None]
m, v = numbers(4), numbers(4, low=0.5, high=2)
layer("BatchNorm2d()", x, {"weight": g, "bias": bias, "running_mean": m, "running_var": v},
      (x - chan(m)) / np.sqrt(chan(v) + 1e-5) * chan(g) + chan(bias))
grouped = x.reshape(2, 2, -1)
grouped = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + 1e-5)
layer("GroupNorm(2)", x, {"weight": g, "bias": bias}, grouped.reshape(x.shape) * chan(g) + chan(bias))
inner = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
layer("InstanceNorm2d(affine = true)", x, {"weight": g, "bias": bias}, inner * chan(g) + chan(bias))
rows, g, bias = numbers(3, 5), numbers(5), numbers(5)
layer("LayerNorm()", rows, {"weight": g, "bias": bias},
      (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-5) * g + bias)
layer("RmsNorm()", rows, {"weight": g}, rows / np.sqrt((rows**2).mean(1, keepdims=True) + 1e-6) * g)
x = numbers(1, 5, 2)
total = np.zeros_like(x)
for ch in range(5):
    total[:, ch] = (x[:, max(0, ch - 1):ch + 2] ** 2).sum(1)
function("local_response_norm(x, 3, alpha = 0.3)", x, x / (1 + 0.3 / 3 * total) ** 0.75)

# ── pooling and resolution ────────────────────────────────────────────────────
x = numbers(1, 2, 6, 7)


def pool(x, k, s, pad, f, fill, d=1):
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], constant_values=fill)
    h, w = [(n - d * (k - 1) - 1) // s + 1 for n in x.shape[2:]]
    y = np.zeros(x.shape[:2] + (h, w))
    for i in range(h):
        for j in range(w):
            y[:, :, i, j] = f(x[:, :, i * s:i * s + d * (k - 1) + 1:d, j * s:j * s + d * (k - 1) + 1:d], axis=(2, 3))
    return y


function("max_pool(x, 3, stride = 2, pad = 1)", x, pool(x, 3, 2, 1, np.max, -np.inf))
function("max_pool(x, 2, stride = 1, dilation = 2)", x, pool(x, 2, 1, 0, np.max, 0, 2))
function("avg_pool(x, 2, pad = 1)", x, pool(x, 2, 2, 1, np.mean, 0))
function("lp_pool(x, 2, 2)", x, np.sqrt(pool(x**2, 2, 2, 0, np.sum, 0)))
function("max_pool1d(x[:, :, 0], 2)", x, x[:, :, 0, :6].reshape(1, 2, 3, 2).max(3))
function("global_avg_pool(x)", x, x.mean((2, 3)))
function("global_max_pool(x)", x, x.max((2, 3)))


def adaptive(x, out, f):
    y = np.zeros(x.shape[:2] + tuple(out))
    for i in range(out[0]):
        for j in range(out[1]):
            cut = [slice(k * n // o, -(-(k + 1) * n // o)) for k, n, o in zip((i, j), x.shape[2:], out)]
            y[:, :, i, j] = f(x[:, :, cut[0], cut[1]], axis=(2, 3))
    return y


function("adaptive_avg_pool(x, [4, 3])", x, adaptive(x, (4, 3), np.mean))
function("adaptive_max_pool(x, 5)", x, adaptive(x, (5, 5), np.max))
function("upsample(x, 2)", x, x.repeat(2, 2).repeat(2, 3))
function("pixel_shuffle(repeat(x, 2, axis = 1), 2)", x,
         np.concatenate([x, x], 1).reshape(1, 1, 2, 2, 6, 7).transpose(0, 1, 4, 2, 5, 3).reshape(1, 1, 12, 14))
even = numbers(1, 1, 4, 6)
function("pixel_unshuffle(x, 2)", even,
         even.reshape(1, 1, 2, 2, 3, 2).transpose(0, 1, 3, 5, 2, 4).reshape(1, 4, 2, 3))


def resized(x, n, mode, corners):
    """One axis, the last."""
    old = x.shape[-1]
    y = np.zeros(x.shape[:-1] + (n,))
    for i in range(n):
        if mode == "nearest":
            y[..., i] = x[..., int(i * old / n)]
            continue
        p = i * (old - 1) / (n - 1) if corners else (i + 0.5) * old / n - 0.5
        if mode == "linear":
            p = max(p, 0)
            a = int(p)
            t = p - a
            y[..., i] = (1 - t) * x[..., a] + t * x[..., min(a + 1, old - 1)]
        else:
            a = math.floor(p)
            for k in range(-1, 3):
                d = abs(p - (a + k))
                weight = (1.25 * d - 2.25) * d * d + 1 if d <= 1 else ((-0.75 * d + 3.75) * d - 6) * d + 3
                y[..., i] += weight * x[..., min(max(a + k, 0), old - 1)]
    return y


def both(x, h, w, mode, corners=False):
    return resized(resized(x, w, mode, corners).swapaxes(2, 3), h, mode, corners).swapaxes(2, 3)


x = numbers(1, 1, 4, 3)
function('interpolate(x, [6, 7], "nearest")', x, both(x, 6, 7, "nearest"))
function('interpolate(x, [6, 7], "linear")', x, both(x, 6, 7, "linear"))
function('interpolate(x, [7, 5], "linear", align_corners = true)', x, both(x, 7, 5, "linear", True))
function('interpolate(x, [6, 7], "cubic")', x, both(x, 6, 7, "cubic"))
for mode, numpy_mode in {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}.items():
    function(f'pad_axis(x, 2, 2, 1, "{mode}")', x, np.pad(x, [(0, 0), (0, 0), (2, 1), (0, 0)], mode=numpy_mode))

# ── attention ─────────────────────────────────────────────────────────────────
q, k, v = numbers(1, 4, 3, 2), numbers(1, 2, 5, 2), numbers(1, 2, 5, 3)


def attend(q, k, v, allowed=None, bias=0.0):
    s = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + bias
    if allowed is not None:
        s = where(allowed, s, -np.inf)
    return softmax(s) @ v


causal = np.arange(5)[None, :] <= np.arange(3)[:, None] + 2
case("grouped attention", "model M(q: [1, 4, 3, 2], k: [1, 2, 5, 2], v: [1, 2, 5, 3]) -> (y: [1, 4, 3, 3]) "
     "= grouped_attention(q, k, v, causal = true)", {"q": q, "k": k, "v": v},
     {"y": attend(q, k.repeat(2, 1), v.repeat(2, 1), causal)})
slope = 2.0 ** (-8 / 4 * np.arange(1, 5))
distance = abs(np.arange(3)[:, None] + 2 - np.arange(5)[None, :])
case("alibi", "model M(x: [1]) -> (y: [4, 3, 5]) = x + alibi(4, 3, 5)", {"x": [0.0]},
     {"y": -slope[:, None, None] * distance})
rate = 10000.0 ** (-2 * np.arange(2) / 4)
angle = (np.arange(3) + 5)[:, None] * rate
x = numbers(1, 1, 3, 4)
a, b = x[..., :2], x[..., 2:]
turned = np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)
function("rotary(x, offset = 5)", x, turned)
table = np.zeros((3, 4))
for t in range(3):
    for i in range(2):
        table[t, 2 * i] = math.sin(t * rate[i])
        table[t, 2 * i + 1] = math.cos(t * rate[i])
case("sinusoidal", "model M(x: [1]) -> (y: [3, 4]) = x + sinusoidal(3, 4)", {"x": [0.0]}, {"y": table})


def bucket(relative, two_way, buckets=32, far=128):
    base = 0
    if two_way:
        buckets //= 2
        base = buckets if relative > 0 else 0
        distance = abs(relative)
    else:
        distance = max(-relative, 0)
    near = buckets // 2
    if distance < near:
        return base + distance
    steps = near + int(math.log(distance / near) / math.log(far / near) * (buckets - near))
    return base + min(steps, buckets - 1)


for two_way in (True, False):
    y = [[bucket(s - 20 * t, two_way) for s in range(0, 60)] for t in range(3)]
    flag = str(two_way).lower()
    case(f"relative_bucket {flag}",
         f"model M(x: [1]) -> (y: i32[3, 60]) = relative_bucket(41, 60, {flag})[0..41] |> take(20 * arange(3))",
         {"x": [0.0]}, {"y": y})

D = 4
given = {"x": numbers(2, 3, D)}
names = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
shapes = [(3 * D, D), (3 * D,), (D, D), (D,)]


def heads(x, n):
    return x.reshape(x.shape[0], x.shape[1], n, -1).swapaxes(1, 2)


def multihead(q, k, v, p, n, allowed=None):
    wq, wk, wv = np.split(p["in_proj_weight"], 3)
    bq, bk, bv = np.split(p["in_proj_bias"], 3)
    y = attend(heads(q @ wq.T + bq, n), heads(k @ wk.T + bk, n), heads(v @ wv.T + bv, n), allowed)
    y = y.swapaxes(1, 2).reshape(q.shape)
    return y @ p["out_proj.weight"].T + p["out_proj.bias"]


p = {n: numbers(*s) for n, s in zip(names, shapes)}
x = given["x"]
case("MultiheadAttention", "model M(x: [2, 3, 4]) -> (y: [2, 3, 4]) = x |> l: MultiheadAttention(2)(x, x, causal = true)",
     {"x": x, **{f"l.{n}": w for n, w in p.items()}},
     {"y": multihead(x, x, x, p, 2, np.tril(np.ones((3, 3))) > 0)})


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


memory = numbers(2, 5, D)
cross = {n: numbers(*s) for n, s in zip(names, shapes)}
ffn = {"linear1.weight": numbers(6, D), "linear1.bias": numbers(6), "linear2.weight": numbers(D, 6),
       "linear2.bias": numbers(D)}
scales = {f"norm{i}.{n}": numbers(D) for i in (1, 2, 3) for n in ("weight", "bias")}
norm = lambda x, i: layer_norm(x) * scales[f"norm{i}.weight"] + scales[f"norm{i}.bias"]
feed = lambda x: np.maximum(x @ ffn["linear1.weight"].T + ffn["linear1.bias"], 0) @ ffn["linear2.weight"].T + ffn["linear2.bias"]
own = {f"l.self_attn.{n}": w for n, w in p.items()}
other = {f"l.multihead_attn.{n}": w for n, w in cross.items()}
rest = {f"l.{n}": w for n, w in {**ffn, **scales}.items()}
two = {n: w for n, w in rest.items() if "norm3" not in n}
y = norm(x + multihead(x, x, x, p, 2), 1)
case("TransformerEncoderLayer", "model M(x: [2, 3, 4]) -> (y: [2, 3, 4]) = x |> l: TransformerEncoderLayer(2, 6)",
     {"x": x, **own, **two}, {"y": norm(y + feed(y), 2)})
n1 = norm(x, 1)
y = x + multihead(n1, n1, n1, p, 2)
case("TransformerEncoderLayer, norm first",
     "model M(x: [2, 3, 4]) -> (y: [2, 3, 4]) = x |> l: TransformerEncoderLayer(2, 6, norm_first = true)",
     {"x": x, **own, **two}, {"y": y + feed(norm(y, 2))})
y = norm(x + multihead(x, x, x, p, 2, np.tril(np.ones((3, 3))) > 0), 1)
y = norm(y + multihead(y, memory, memory, cross, 2), 2)
case("TransformerDecoderLayer",
     "model M(x: [2, 3, 4], m: [2, 5, 4]) -> (y: [2, 3, 4]) = x |> l: TransformerDecoderLayer(2, 6)(m)",
     {"x": x, "m": memory, **own, **other, **rest}, {"y": norm(y + feed(y), 3)})

# ── recurrent layers ──────────────────────────────────────────────────────────
B, T, I, N = 2, 3, 2, 3


def run(x, h, c, p, kind, backward):
    ys = [None] * x.shape[1]
    order = reversed(range(x.shape[1])) if backward else range(x.shape[1])
    for t in order:
        gi = x[:, t] @ p["weight_ih"].T + p["bias_ih"]
        gh = h @ p["weight_hh"].T + p["bias_hh"]
        if kind == "Lstm":
            i, f, u, o = np.split(gi + gh, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
            h = sigmoid(o) * np.tanh(c)
        elif kind == "Gru":
            (ri, zi, ni), (rh, zh, nh) = np.split(gi, 3, axis=1), np.split(gh, 3, axis=1)
            r, z = sigmoid(ri + rh), sigmoid(zi + zh)
            h = (1 - z) * np.tanh(ni + r * nh) + z * h
        else:
            h = np.tanh(gi + gh)
        ys[t] = h
    return np.stack(ys, 1), h, c


for kind, gates in {"Lstm": 4, "Gru": 3, "Rnn": 1}.items():
    x = numbers(B, T, I)
    h0, c0 = numbers(4, B, N), numbers(4, B, N)
    given, inner = {"x": x, "h": h0}, x
    hs, cs = [], []
    for l in range(2):
        ys = []
        for d, suffix in enumerate(["", "_reverse"]):
            width = inner.shape[2]
            p = {"weight_ih": numbers(gates * N, width), "weight_hh": numbers(gates * N, N),
                 "bias_ih": numbers(gates * N), "bias_hh": numbers(gates * N)}
            given.update({f"l.{n}_l{l}{suffix}": w for n, w in p.items()})
            y, h, c = run(inner, h0[2 * l + d], c0[2 * l + d], p, kind, d == 1)
            ys.append(y)
            hs.append(h)
            cs.append(c)
        inner = np.concatenate(ys, 2)
    expected = {"y": inner, "hn": np.stack(hs)}
    state, result = "h: [4, 2, 3]", "y: [2, 3, 6], hn: [4, 2, 3]"
    args = "(h)"
    if kind == "Lstm":
        given["c"] = c0
        expected["cn"] = np.stack(cs)
        state, result, args = state + ", c: [4, 2, 3]", result + ", cn: [4, 2, 3]", "(h, c)"
    case(f"{kind}, two layers, both ways",
         f"model M(x: [2, 3, 2], {state}) -> ({result}) = x |> l: {kind}(3, layers = 2, bidirectional = true){args}",
         given, expected)
    p = {"weight_ih": numbers(gates * N, I), "weight_hh": numbers(gates * N, N),
         "bias_ih": numbers(gates * N), "bias_hh": numbers(gates * N)}
    y, h, c = run(x[:, :1], h0[0], c0[0], p, kind, False)
    cell = {"x": x[:, 0], "h": h0[0], **{f"l.{n}": w for n, w in p.items()}}
    if kind == "Lstm":
        case("LstmCell", "model M(x: [2, 2], h: [2, 3], c: [2, 3]) -> (hn: [2, 3], cn: [2, 3]) = x |> l: LstmCell(3)(h, c)",
             {**cell, "c": c0[0]}, {"hn": h, "cn": c})
    else:
        case(f"{kind}Cell", f"model M(x: [2, 2], h: [2, 3]) -> (hn: [2, 3]) = x |> l: {kind}Cell(3)(h)", cell, {"hn": h})

# ── initialisers ──────────────────────────────────────────────────────────────
case("eye", "model M(x: [1]) -> (y: [3, 2]) = x + eye([3, 2])", {"x": [0.0]}, {"y": np.eye(3, 2)})
same = np.zeros((4, 2, 3))
for o in range(4):
    same[o, o % 2, 1] = 1
case("dirac", "model M(x: [1]) -> (y: [4, 2, 3]) = x + dirac([4, 2, 3], groups = 2)", {"x": [0.0]}, {"y": same})
case("orthogonal", "model M(x: [1]) -> (y: [3, 3], z: [2, 2]) {\n  a = orthogonal([3, 5])\n  b = orthogonal([4, 2])\n"
     "  (x + a @ a.T, x + b.T @ b)\n}", {"x": [0.0], "random key": [3, 0]}, {"y": np.eye(3), "z": np.eye(2)})
case("sparse", "model M(x: [1]) -> (y: [3]) = x + sum(cast(sparse([10, 3], sparsity = 0.75) == 0, float), axes = [0])",
     {"x": [0.0], "random key": [3, 0]}, {"y": [8.0, 8.0, 8.0]})
case("random_order", "model M(x: [1]) -> (y: [6]) {\n  (v, _) = sort(random_order(6))\n  x + cast(v, float)\n}",
     {"x": [0.0], "random key": [7, 1]}, {"y": np.arange(6.0)})

# ── optimisers and schedules ──────────────────────────────────────────────────
batch = numbers(4, 2, 3)
g = batch.mean(0)
p0 = numbers(2, 3)


def optimiser(call, states, new, after):
    text = ("model M(x: [B, 2, 3]) -> [B] {\n  param w: [2, 3] = zeros()\n  sum(x * w, axes = [1, 2])\n}\n"
            "train T {\n  net = M()\n  data d = npy(\"x.npy\", item = [2, 3]) |> batch(4)\n"
            f"  step (b in d) updates net using {call} {{ mean(net(b)) }}\n}}\n")
    counts = {"step": 2} if call.startswith("Ada") and "Adadelta" not in call else {}
    given = {"b": batch, **counts, "net.w": p0, **{f"optimiser.net.w.{k}": v for k, v in states.items()}}
    expected = {"net.w": new, **{f"optimiser.net.w.{k}": v for k, v in after.items()}}
    case(call, text, given, expected)


m, v = numbers(2, 3), numbers(2, 3, low=0, high=1)
t = 3
optimiser("Sgd(lr = 0.1)", {}, p0 - 0.1 * g, {})
buf = 0.9 * m + g + 0.01 * p0
optimiser("Sgd(lr = 0.1, momentum = 0.9, weight_decay = 0.01)", {"momentum_buffer": m}, p0 - 0.1 * buf,
          {"momentum_buffer": buf})
buf = 0.9 * m + g
optimiser("Sgd(lr = 0.1, momentum = 0.9, nesterov = true)", {"momentum_buffer": m}, p0 - 0.1 * (g + 0.9 * buf),
          {"momentum_buffer": buf})


def adam(g, m, v, lr=0.1, b1=0.9, b2=0.999, eps=1e-8):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    return m, v, lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)


nm, nv, d = adam(g, m, v)
optimiser("AdamW(lr = 0.1, weight_decay = 0.2)", {"exp_avg": m, "exp_avg_sq": v}, p0 * (1 - 0.02) - d,
          {"exp_avg": nm, "exp_avg_sq": nv})
nm, nv, d = adam(g + 0.2 * p0, m, v)
optimiser("Adam(lr = 0.1, weight_decay = 0.2)", {"exp_avg": m, "exp_avg_sq": v}, p0 - d,
          {"exp_avg": nm, "exp_avg_sq": nv})
nm, nu = 0.9 * m + 0.1 * g, np.maximum(0.999 * v, abs(g) + 1e-8)
optimiser("Adamax(lr = 0.1)", {"exp_avg": m, "exp_inf": v}, p0 - 0.1 / (1 - 0.9**t) * nm / nu,
          {"exp_avg": nm, "exp_inf": nu})
nv = 0.99 * v + 0.01 * g**2
optimiser("RmsProp(lr = 0.1)", {"square_avg": v}, p0 - 0.1 * g / (np.sqrt(nv) + 1e-8), {"square_avg": nv})
total = v + g**2
optimiser("Adagrad(lr = 0.1, lr_decay = 0.5)", {"sum": v}, p0 - 0.1 / (1 + 2 * 0.5) * g / (np.sqrt(total) + 1e-10),
          {"sum": total})
a0 = numbers(2, 3, low=0, high=1)
nv = 0.9 * v + 0.1 * g**2
d = np.sqrt(a0 + 1e-6) / np.sqrt(nv + 1e-6) * g
optimiser("Adadelta()", {"square_avg": v, "acc_delta": a0}, p0 - d,
          {"square_avg": nv, "acc_delta": 0.9 * a0 + 0.1 * d**2})
nm = 0.99 * m + 0.01 * g
optimiser("Lion(lr = 0.1, weight_decay = 0.2)", {"exp_avg": m},
          p0 * (1 - 0.02) - 0.1 * np.sign(0.9 * m + 0.1 * g), {"exp_avg": nm})
length = np.sqrt((g**2).sum())
optimiser("Sgd(lr = 0.1), clip_norm = 0.3", {}, p0 - 0.1 * g * min(1, 0.3 / (length + 1e-6)), {})

steps = np.array([0, 3, 10, 17, 40])


def schedule(call, f):
    case(call, "model M(s: i32[5]) -> (y: [5]) {\n" f"  f = {call}\n" "  f(s)\n}", {"s": steps},
         {"y": [f(s) for s in steps]})


cosine = lambda u: 0.5 * (1 + math.cos(math.pi * u))
schedule("cosine(2, total = 20, warmup = 5, final = 0.1)",
         lambda s: 2 * s / 5 if s < 5 else 0.1 + 1.9 * cosine(min((s - 5) / 15, 1)))
schedule("step_decay(2, every = 4, factor = 0.5)", lambda s: 2 * 0.5 ** (s // 4))
schedule("multi_step(2, [3, 12], factor = 0.5)", lambda s: 2 * 0.5 ** (int(s >= 3) + int(s >= 12)))
schedule("exponential(2, 0.9)", lambda s: 2 * 0.9**s)
schedule("linear(2, 1, total = 20)", lambda s: 2 - min(s / 20, 1))
schedule("polynomial(2, total = 20, power = 2, final = 1)", lambda s: 1 + (1 - min(s / 20, 1)) ** 2)
schedule("inverse_sqrt(2, warmup = 4)", lambda s: 2 * min((s + 1) / 4, math.sqrt(4 / (s + 1))))
schedule("cosine_restarts(2, every = 8)", lambda s: 2 * cosine(s % 8 / 8))
schedule("one_cycle(2, total = 20)",
         lambda s: 0.08 + 1.92 * 0.5 * (1 - math.cos(math.pi * s / 5)) if s < 5
         else 0.08 / 1e4 + (2 - 0.08 / 1e4) * cosine(min((s - 5) / 14, 1)))

lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
pathlib.Path(__file__).with_name("expected.json").write_text("[\n" + lines + "\n]\n")
print(len(cases), "cases")

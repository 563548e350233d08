#!/usr/bin/env python3
"""What PyTorch gives for each model of tests/models/std.nn: tests/golden/std/pieces.safetensors.

    pip install torch safetensors && python3 scripts/golden-std.py

A second file, optimisers.safetensors, holds what its optimisers make of given gradients. Inputs and parameters are stored with the results, so the numbers that torch draws here do not matter later. Keys are
MODEL.input.NAME, MODEL.param.NAME and MODEL.output.NUMBER. A test fails for a model without a golden, and the other way.
"""
import math
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(7)
out = {}


def randn(*shape):
    return torch.randn(*shape)


def ints(high, *shape):
    return torch.randint(0, high, shape, dtype=torch.int32)


def store(name, inputs, params, results):
    results = results if isinstance(results, (tuple, list)) else [results]
    for key, value in inputs.items():
        out[f"{name}.input.{key}"] = value.detach().clone().contiguous()
    for key, value in params.items():
        out[f"{name}.param.{key}"] = value.detach().clone().contiguous()
    for i, value in enumerate(results):
        value = value.detach().clone().contiguous()
        out[f"{name}.output.{i}"] = value.to(torch.int32) if value.dtype == torch.int64 else value


def case(name, f, **inputs):
    """A function of its inputs, or a module labelled `m`, whose parameters get other values than their first ones."""
    params = {}
    if isinstance(f, nn.Module):
        f.eval()
        for key, value in f.state_dict().items():
            if value.dtype.is_floating_point:
                value.copy_(torch.rand_like(value) + 0.5 if "running" in key else randn(*value.shape) * 0.4)
            params[f"m.{key}"] = value.clone()
    longs = {k: v.long() if v.dtype == torch.int32 else v for k, v in inputs.items()}
    with torch.no_grad():
        store(name, inputs, params, f(*longs.values()))


def module(name, build, call, **inputs):
    """A module called otherwise than on its inputs in order."""
    build.eval()
    params = {}
    for key, value in build.state_dict().items():
        value.copy_(randn(*value.shape) * 0.4)
        params[f"m.{key}"] = value.clone()
    with torch.no_grad():
        store(name, inputs, params, call(build, *inputs.values()))




# Layers.
case("Linear1", nn.Linear(7, 5), x=randn(2, 3, 7))
case("LinearNoBias", nn.Linear(7, 5, bias=False), x=randn(3, 7))
case("Bilinear1", nn.Bilinear(3, 4, 5), a=randn(2, 3), b=randn(2, 4))
case("Embedding1", nn.Embedding(11, 6), ids=ints(11, 2, 5))
for mode in ["mean", "sum", "max"]:
    case(f"EmbeddingBag{mode.capitalize()}", nn.EmbeddingBag(11, 6, mode=mode), ids=ints(11, 2, 5))
case("Prelu1", nn.PReLU(), x=randn(2, 3, 4))
case("PreluEach", nn.PReLU(5), x=randn(2, 5, 4))

# Convolutions.
case("Conv1dStrided", nn.Conv1d(4, 6, 3, stride=2, padding=1), x=randn(2, 4, 11))
case("Conv1dReflect", nn.Conv1d(4, 6, 5, padding=2, padding_mode="reflect"), x=randn(2, 4, 11))
case("Conv2dPlain", nn.Conv2d(4, 6, 3, padding=1), x=randn(2, 4, 7, 9))
case("Conv2dDilated", nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(2, 3)), x=randn(2, 4, 9, 8))
case("Conv2dGroups", nn.Conv2d(4, 6, 3, groups=2, bias=False), x=randn(2, 4, 7, 6))
case("Conv2dDepthwise", nn.Conv2d(4, 8, 3, groups=4, padding=1), x=randn(2, 4, 7, 6))
case("Conv2dCircular", nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="circular"), x=randn(2, 4, 7, 6))
case("Conv2dReplicate", nn.Conv2d(4, 6, 3, padding=2, padding_mode="replicate"), x=randn(2, 4, 7, 6))
case("Conv3dPlain", nn.Conv3d(3, 4, (3, 2, 3), stride=(1, 2, 1), padding=1), x=randn(2, 3, 5, 6, 4))
case("ConvT1d", nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1), x=randn(2, 4, 7))
case("ConvT2d", nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), x=randn(2, 4, 5, 4))
case("ConvT2dDilated", nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 3), dilation=(2, 1), bias=False), x=randn(2, 4, 5, 4))
case("ConvT3d", nn.ConvTranspose3d(3, 4, 3, stride=2, padding=1), x=randn(2, 3, 3, 4, 2))

# Pooling.
case("MaxPool1d", nn.MaxPool1d(3, 2, 1), x=randn(2, 3, 9))
case("MaxPool2d", nn.MaxPool2d(3, 2, 1), x=randn(2, 3, 9, 8))
case("MaxPool2dDilated", nn.MaxPool2d((3, 2), (1, 2), dilation=2), x=randn(2, 3, 9, 8))
case("MaxPool3d", nn.MaxPool3d(2), x=randn(2, 3, 5, 6, 4))
case("AvgPool1d", nn.AvgPool1d(3, 2, 1), x=randn(2, 3, 9))
case("AvgPool2d", nn.AvgPool2d(3, 2, 1), x=randn(2, 3, 9, 8))
case("AvgPool3d", nn.AvgPool3d(2), x=randn(2, 3, 5, 6, 4))
case("LpPool", lambda x: F.lp_pool2d(x.abs(), 2, 2), x=randn(2, 3, 8, 6))
case("AdaptiveAvg", nn.AdaptiveAvgPool2d((3, 4)), x=randn(2, 3, 7, 10))
case("AdaptiveMax", nn.AdaptiveMaxPool2d((3, 4)), x=randn(2, 3, 7, 10))
case("GlobalAvg", lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0], x=randn(2, 3, 7, 5))
case("GlobalMax", lambda x: F.adaptive_max_pool2d(x, 1)[:, :, 0, 0], x=randn(2, 3, 7, 5))

# Norms.
case("BatchNorm1", nn.BatchNorm1d(4), x=randn(2, 4, 5))
case("BatchNorm2", nn.BatchNorm2d(4), x=randn(2, 4, 5, 3))
case("BatchNorm3", nn.BatchNorm3d(4), x=randn(2, 4, 2, 3, 5))
case("LayerNorm1", nn.LayerNorm(7), x=randn(2, 3, 7))
case("RmsNorm1", nn.RMSNorm(7, eps=1e-6), x=randn(2, 3, 7))
case("GroupNorm1", nn.GroupNorm(3, 6), x=randn(2, 6, 3, 5))
case("InstanceNorm1", nn.InstanceNorm1d(4), x=randn(2, 4, 9))
case("InstanceNorm2", nn.InstanceNorm2d(4, affine=True), x=randn(2, 4, 3, 5))
case("InstanceNorm3", nn.InstanceNorm3d(4, affine=True), x=randn(2, 4, 2, 3, 5))
case("LocalResponseNorm", nn.LocalResponseNorm(3, alpha=0.1), x=randn(2, 5, 3, 4))


# Recurrent layers.
def recurrent(name, build, **inputs):
    def call(m, x, h0, c0=None):
        y, h = m(x, h0 if c0 is None else (h0, c0))
        return (y, *h) if isinstance(h, tuple) else (y, h)

    module(name, build, call, **inputs)


recurrent("Lstm1", nn.LSTM(5, 6, batch_first=True), x=randn(2, 4, 5), h0=randn(1, 2, 6), c0=randn(1, 2, 6))
recurrent("LstmDeep", nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True), x=randn(2, 4, 5), h0=randn(4, 2, 6), c0=randn(4, 2, 6))
recurrent("Gru1", nn.GRU(5, 6, batch_first=True), x=randn(2, 4, 5), h0=randn(1, 2, 6))
recurrent("GruDeep", nn.GRU(5, 6, 2, batch_first=True, bidirectional=True), x=randn(2, 4, 5), h0=randn(4, 2, 6))
recurrent("RnnTanh", nn.RNN(5, 6, 2, batch_first=True), x=randn(2, 4, 5), h0=randn(2, 2, 6))
recurrent("RnnRelu", nn.RNN(5, 6, nonlinearity="relu", batch_first=True, bidirectional=True), x=randn(2, 4, 5), h0=randn(2, 2, 6))
module("LstmCell1", nn.LSTMCell(5, 6), lambda m, x, h, c: m(x, (h, c)), x=randn(3, 5), h=randn(3, 6), c=randn(3, 6))
module("GruCell1", nn.GRUCell(5, 6), lambda m, x, h: m(x, h), x=randn(3, 5), h=randn(3, 6))
module("RnnCell1", nn.RNNCell(5, 6), lambda m, x, h: m(x, h), x=randn(3, 5), h=randn(3, 6))

# Attention.
sdpa = F.scaled_dot_product_attention
case("Attention1", sdpa, q=randn(2, 3, 4, 6), k=randn(2, 3, 5, 6), v=randn(2, 3, 5, 7))
case("AttentionCausal", lambda q, k, v: sdpa(q, k, v, is_causal=True), q=randn(2, 3, 5, 6), k=randn(2, 3, 5, 6), v=randn(2, 3, 5, 6))
case("AttentionBias", sdpa, q=randn(2, 3, 4, 6), k=randn(2, 3, 5, 6), v=randn(2, 3, 5, 6), bias=randn(2, 3, 4, 5))
seen = torch.rand(4, 5) > 0.4
seen[:, 0] = True
case("AttentionMask", sdpa, q=randn(2, 3, 4, 6), k=randn(2, 3, 5, 6), v=randn(2, 3, 5, 6), mask=seen)
case("AttentionGrouped", lambda q, k, v: sdpa(q, k, v, enable_gqa=True), q=randn(2, 6, 4, 8), k=randn(2, 2, 5, 8), v=randn(2, 2, 5, 8))
module("Multihead", nn.MultiheadAttention(12, 3, batch_first=True), lambda m, q, k, v: m(q, k, v, need_weights=False)[0], q=randn(2, 4, 12), k=randn(2, 5, 12), v=randn(2, 5, 12))


def no_future(n):
    return nn.Transformer.generate_square_subsequent_mask(n)


module("MultiheadCausal", nn.MultiheadAttention(12, 3, batch_first=True), lambda m, x: m(x, x, x, attn_mask=no_future(5), is_causal=True, need_weights=False)[0], x=randn(2, 5, 12))
module("EncoderLayer", nn.TransformerEncoderLayer(12, 3, 20, batch_first=True), lambda m, x: m(x), x=randn(2, 5, 12))
module("EncoderLayerFirst", nn.TransformerEncoderLayer(12, 3, 20, activation="gelu", batch_first=True, norm_first=True), lambda m, x: m(x), x=randn(2, 5, 12))
decode = lambda m, x, memory: m(x, memory, tgt_mask=no_future(4), tgt_is_causal=True)
module("DecoderLayer", nn.TransformerDecoderLayer(12, 3, 20, batch_first=True), decode, x=randn(2, 4, 12), memory=randn(2, 5, 12))
module("DecoderLayerFirst", nn.TransformerDecoderLayer(12, 3, 20, batch_first=True, norm_first=True), decode, x=randn(2, 4, 12), memory=randn(2, 5, 12))


# Positions as their papers and the models that use them have them.
def rotary(x):
    t, d = x.shape[-2:]
    rate = 1 / 10000 ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    angle = torch.arange(t, dtype=torch.float64)[:, None] * torch.cat([rate, rate])
    half = torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1)
    return (x * angle.cos() + half * angle.sin()).float()


def sinusoidal(x):
    t, d = x.shape
    angle = torch.arange(t, dtype=torch.float64)[:, None] / 10000 ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    y = torch.zeros(t, d, dtype=torch.float64)
    y[:, 0::2], y[:, 1::2] = angle.sin(), angle.cos()
    return (x + y).float()


def alibi(x):
    h, t, s = x.shape
    slope = torch.tensor([2 ** (-8 * (i + 1) / h) for i in range(h)])
    back = torch.arange(t)[:, None] + (s - t) - torch.arange(s)[None, :]
    return x - slope[:, None, None] * back.abs()


def bucket(two_way):
    def f(x):
        rows = []
        for i in range(x.shape[0]):
            row = []
            for j in range(x.shape[1]):
                n, d, base = 32, j - i, 0
                if two_way:
                    n, base, d = 16, 16 if d > 0 else 0, abs(d)
                else:
                    d = max(-d, 0)
                half = n // 2
                far = half + int(math.log(max(d, 1) / half) / math.log(128 / half) * (n - half))
                row.append(base + (d if d < half else min(far, n - 1)))
            rows.append(row)
        return torch.tensor(rows, dtype=torch.int32)

    return f


case("Rotary", rotary, x=randn(2, 3, 5, 8))
case("Sinusoidal", sinusoidal, x=randn(6, 10))
case("Alibi", alibi, x=randn(4, 3, 5))
case("BucketsTwoWay", bucket(True), x=randn(30, 37))
case("BucketsOneWay", bucket(False), x=randn(37, 30))

# Changes of resolution.
case("Upsample", lambda x: F.interpolate(x, scale_factor=2), x=randn(2, 3, 5, 4))
case("Nearest", lambda x: F.interpolate(x, (8, 3)), x=randn(2, 3, 5, 4))
case("Bilinear2", lambda x: F.interpolate(x, (8, 3), mode="bilinear"), x=randn(2, 3, 5, 4))
case("BilinearCorners", lambda x: F.interpolate(x, (8, 7), mode="bilinear", align_corners=True), x=randn(2, 3, 5, 4))
case("Bicubic", lambda x: F.interpolate(x, (9, 7), mode="bicubic"), x=randn(2, 3, 5, 4))
case("BicubicCorners", lambda x: F.interpolate(x, (9, 7), mode="bicubic", align_corners=True), x=randn(2, 3, 5, 4))
case("Line", lambda x: F.interpolate(x, 8, mode="linear"), x=randn(2, 3, 5))
case("Trilinear", lambda x: F.interpolate(x, (5, 3, 4), mode="trilinear"), x=randn(2, 3, 3, 4, 2))
case("PixelShuffle", nn.PixelShuffle(2), x=randn(2, 8, 3, 4))
case("PixelUnshuffle", nn.PixelUnshuffle(2), x=randn(2, 2, 6, 8))
case("ChannelShuffle", nn.ChannelShuffle(3), x=randn(2, 6, 3, 2))

# Activations.
for name, f in {
    "Relu6": lambda x: F.relu6(4 * x),
    "LeakyRelu": lambda x: F.leaky_relu(x, 0.2),
    "Threshold": lambda x: F.threshold(x, 0.1, 20),
    "Silu": F.silu,
    "Elu": lambda x: F.elu(x, 0.7),
    "Celu": lambda x: F.celu(x, 0.7),
    "Selu": F.selu,
    "Softplus": lambda x: F.softplus(9 * x.double(), beta=2).float(),
    "Logsigmoid": lambda x: F.logsigmoid(30 * x),
    "Softsign": F.softsign,
    "Mish": lambda x: F.mish(9 * x),
    "Hardtanh": lambda x: F.hardtanh(x, -0.5, 0.7),
    "HardSigmoid": lambda x: F.hardsigmoid(4 * x),
    "HardSwish": lambda x: F.hardswish(4 * x),
    "Hardshrink": F.hardshrink,
    "Softshrink": F.softshrink,
    "Tanhshrink": F.tanhshrink,
    "Gelu": F.gelu,
    "GeluTanh": lambda x: F.gelu(x, approximate="tanh"),
}.items():
    case(name, f, x=randn(37))
case("Glu", F.glu, x=randn(4, 6))
case("Softmax", lambda x: F.softmax(9 * x, -1), x=randn(3, 7))
case("LogSoftmax", lambda x: F.log_softmax(9 * x, -1), x=randn(3, 7))
case("Softmin", lambda x: F.softmin(9 * x, -1), x=randn(3, 7))


# Losses.
def pair(name, f):
    case(name, f, x=randn(3, 5), y=randn(3, 5))


def labelled(name, f):
    case(name, f, x=randn(3, 5), y=ints(5, 3))


signs = lambda x: torch.where(x > 0, 1.0, -1.0)
labelled("CrossEntropy", F.cross_entropy)
labelled("CrossEntropySmooth", lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1))
labelled("CrossEntropyNone", lambda x, y: F.cross_entropy(x, y, reduction="none"))
labelled("NllLoss", lambda x, y: F.nll_loss(F.log_softmax(x, -1), y))
pair("Bce", lambda x, y: F.binary_cross_entropy(x.sigmoid(), y.sigmoid()))
pair("BceLogits", lambda x, y: F.binary_cross_entropy_with_logits(9 * x, y.sigmoid()))
pair("Mse", F.mse_loss)
pair("MseSum", lambda x, y: F.mse_loss(x, y, reduction="sum"))
pair("L1", F.l1_loss)
pair("Huber", lambda x, y: F.huber_loss(x, y, delta=0.6))
pair("SmoothL1", lambda x, y: F.smooth_l1_loss(x, y, beta=0.6))
pair("KlDiv", lambda x, y: F.kl_div(F.log_softmax(x, -1), F.softmax(y, -1), reduction="mean"))
pair("PoissonNll", lambda x, y: F.poisson_nll_loss(x, y.exp()))
pair("PoissonNllRates", lambda x, y: F.poisson_nll_loss(x.exp(), y.exp(), log_input=False))
case("GaussianNll", lambda x, y, v: F.gaussian_nll_loss(x, y, v.exp()), x=randn(3, 5), y=randn(3, 5), v=randn(3, 5))
pair("HingeEmbedding", lambda x, y: F.hinge_embedding_loss(x, signs(y)))
case("MarginRanking", lambda x, y, z: F.margin_ranking_loss(x, y, signs(z), margin=0.2), x=randn(6), y=randn(6), z=randn(6))
pair("SoftMargin", lambda x, y: F.soft_margin_loss(9 * x, signs(y)))
labelled("MultiMargin", lambda x, y: F.multi_margin_loss(x, y, p=2, margin=0.7))
case("MultilabelMargin", F.multilabel_margin_loss, x=randn(3, 5), y=torch.tensor([[3, 0, -1, 1, 2], [-1, 0, 1, 2, 3], [4, 1, 2, 0, -1]], dtype=torch.int32))
pair("MultilabelSoftMargin", lambda x, y: F.multilabel_soft_margin_loss(x, (y > 0).float()))
pair("CosineSimilarity", lambda x, y: F.cosine_similarity(x, y, -1))
case("CosineEmbedding", lambda x, y, z: F.cosine_embedding_loss(x, y, signs(z), margin=0.1), x=randn(6, 4), y=randn(6, 4), z=randn(6))
case("TripletMargin", F.triplet_margin_loss, a=randn(3, 5), p=randn(3, 5), n=randn(3, 5))
case("TripletMarginSwap", lambda a, p, n: F.triplet_margin_loss(a, p, n, p=1, swap=True), a=randn(3, 5), p=randn(3, 5), n=randn(3, 5))
ctc = lambda how: lambda x, y, t, n: F.ctc_loss(F.log_softmax(x, -1).transpose(0, 1), y, t, n, reduction=how)
spelled = dict(labels=torch.tensor([[1, 1, 2], [3, 4, 1], [2, 0, 0]], dtype=torch.int32), lengths=torch.tensor([9, 6, 4], dtype=torch.int32), sizes=torch.tensor([3, 2, 1], dtype=torch.int32))
case("Ctc", ctc("none"), x=randn(3, 9, 5), **spelled)
case("CtcMean", ctc("mean"), x=randn(3, 9, 5), **spelled)
case("PairwiseDistance", F.pairwise_distance, a=randn(3, 5), b=randn(3, 5))

# Windows.
case("Unfold", lambda x: F.unfold(x, (3, 2), padding=1, stride=(2, 1)), x=randn(2, 2, 5, 6))
case("Fold", lambda x: F.fold(x, (5, 6), (3, 2), padding=(1, 0), stride=(2, 1)), x=randn(2, 12, 15))
case("MaxUnpool", lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), x=randn(2, 2, 6, 8))

# Numbers.
case("Trigonometry", lambda x: (x.tan(), x.tanh().asin(), x.tanh().acos(), x.sinh(), x.cosh()), x=randn(23))
case("Hyperbolic", lambda x: (x.asinh(), (1 + x * x).acosh(), x.tanh().atanh()), x=randn(23))
case("Erfinv", lambda x: x.tanh().erfinv(), x=randn(23) * 2)
case("Atan2", torch.atan2, y=randn(23), x=randn(23))
case("Statistics", lambda x: (x.mean(1), x.var(1, correction=0), x.var(1), x.logsumexp(1)), x=randn(3, 7))
case("Norms", lambda x: tuple(x.norm(p, 1) for p in (1, 2, 3, math.inf)), x=randn(3, 7))
case("Running", lambda x: (x.cumsum(1), x.cumprod(1)), x=randn(3, 7))
case("Triangles", lambda x: (x.tril(1), x.triu(-1)), x=randn(2, 4, 5))
case("Roll", lambda x: x.roll(3, 0), x=randn(7, 2))

# Initialisers that are no chance.
case("Eye", lambda x: x + nn.init.eye_(torch.empty(4, 5)), x=randn(4, 5))
case("Dirac", lambda x: x + nn.init.dirac_(torch.empty(4, 2, 3, 3), 2), x=randn(4, 2, 3, 3))


# Schedules.
def rates(name, build, first=0.1, n=50):
    w = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([w], lr=first)
    schedule = build(optimiser)
    values = []
    for _ in range(n):
        values.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    store(name, {"s": torch.arange(n, dtype=torch.int32)}, {}, torch.tensor(values))


L = torch.optim.lr_scheduler
rates("CosinePlain", lambda o: L.CosineAnnealingLR(o, 50, 0.01))
rates("StepDecay", lambda o: L.StepLR(o, 7, 0.5))
rates("MultiStep", lambda o: L.MultiStepLR(o, [5, 20, 21], 0.5))
rates("Exponential", lambda o: L.ExponentialLR(o, 0.97))
rates("LinearRate", lambda o: L.LinearLR(o, 0.2, 1.0, 30))
rates("Polynomial", lambda o: L.PolynomialLR(o, 40, 2.0))
rates("CosineRestarts", lambda o: L.CosineAnnealingWarmRestarts(o, 12, 1, 0.01))
rates("OneCycle", lambda o: L.OneCycleLR(o, 0.1, total_steps=50))
# torch has no warmup that starts at 0: a line, then a cosine, as transformers.get_cosine_schedule_with_warmup has it.
warm = [0.1 * s / 10 if s < 10 else 0.01 + 0.09 * 0.5 * (1 + math.cos(math.pi * min((s - 10) / 30, 1))) for s in range(50)]
store("CosineWarmup", {"s": torch.arange(50, dtype=torch.int32)}, {}, torch.tensor(warm))

folder = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "std")
os.makedirs(folder, exist_ok=True)
save_file(out, os.path.join(folder, "pieces.safetensors"), metadata={"torch": torch.__version__})
print(len({key.split(".")[0] for key in out}), "models")


# Optimisers on given gradients, for tests/models/optimisers.nn.
class Lion(torch.optim.Optimizer):
    """As in Chen et al., Symbolic Discovery of Optimization Algorithms, 2023; torch has none."""

    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                update = (b1 * m + (1 - b1) * p.grad).sign()
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * update)
                m.mul_(b2).add_((1 - b2) * p.grad)


O = torch.optim
optimisers = {
    "SgdPlain": lambda w: O.SGD(w, 0.1, weight_decay=0.05),
    "Decayed": lambda w: O.SGD(w, 0.1, weight_decay=0.05),
    "Straight": lambda w: O.SGD(w, 0.1),
    "SgdMomentum": lambda w: O.SGD(w, 0.1, momentum=0.9, dampening=0.2),
    "SgdNesterov": lambda w: O.SGD(w, 0.1, momentum=0.9, nesterov=True),
    "SgdStepped": lambda w: O.SGD(w, 0.1),
    "Adam1": lambda w: O.Adam(w, 0.05, weight_decay=0.1),
    "AdamAmsgrad": lambda w: O.Adam(w, 0.05, betas=(0.8, 0.9), amsgrad=True),
    "AdamW1": lambda w: O.AdamW(w, 0.05, weight_decay=0.1),
    "Adamax1": lambda w: O.Adamax(w, 0.05),
    "RmsProp1": lambda w: O.RMSprop(w, 0.05, alpha=0.9),
    "RmsPropCentered": lambda w: O.RMSprop(w, 0.05, alpha=0.9, momentum=0.5, centered=True),
    "Adagrad1": lambda w: O.Adagrad(w, 0.1, lr_decay=0.1),
    "Adadelta1": lambda w: O.Adadelta(w, 1.0),
    "Lion1": lambda w: Lion(w, 0.01, weight_decay=0.1),
}
gradients = randn(20, 2, 3)
np.save(os.path.join(folder, "gradients.npy"), gradients.numpy())
trained = {}
for name, build in optimisers.items():
    w = nn.Parameter(torch.full((2, 3), 0.5))
    optimiser = build([w])
    schedule = L.StepLR(optimiser, 6, 0.5) if name == "SgdStepped" else None
    for g in gradients:
        w.grad = g.clone()
        optimiser.step()
        if schedule:
            schedule.step()
    trained[f"{name}.w"] = w.detach()
norm, seen_inputs = nn.BatchNorm1d(3), randn(12, 3, 5) * 2 + 1
np.save(os.path.join(folder, "seen.npy"), seen_inputs.numpy())
for batch in seen_inputs.split(4):
    norm(batch)
trained |= {f"Seen.m.{key}": value for key, value in norm.state_dict().items()}
save_file(trained, os.path.join(folder, "optimisers.safetensors"), metadata={"torch": torch.__version__})
print(len(optimisers), "optimisers")

"""The random weights of nnc (`nnc::Values::Random`) in numpy, so that both sides of a comparison make them alone."""
import numpy as np


def random_weights(name, shape, seed=0, state=False):
    """Values of the tensor stored under a name: parameters in ±1/√n, n the elements of one row; states in 0.5 to 1.5."""
    mask = (1 << 64) - 1
    start = seed ^ 0x9E3779B97F4A7C15
    for byte in name.encode():
        start = ((start ^ byte) * 0x100000001B3) & mask
    count = int(np.prod(shape, dtype=np.int64))
    # The k-th state of x -> a x + c is a^k x + c (1 + a + … + a^(k-1)), all modulo 2^64.
    powers = np.cumprod(np.full(count, 6364136223846793005, np.uint64))
    sums = np.cumsum(np.concatenate([np.ones(1, np.uint64), powers[:-1]]))
    states = powers * np.uint64(start) + sums * np.uint64(1442695040888963407)
    unit = (states >> np.uint64(40)).astype(np.float64) / (1 << 24)
    row = int(np.prod(shape[1:] if len(shape) > 1 else shape, dtype=np.int64))
    values = unit + 0.5 if state else (unit * 2 - 1) / np.sqrt(max(row, 1))
    return values.astype(np.float32).reshape(shape)

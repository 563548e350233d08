#!/usr/bin/env python3
"""Kernels that nnc emits as CUDA C++ on a GPU: compiled by NVRTC, checked against f64, timed beside PyTorch.

    target/release/gpu_cases > cases.jsonl         # anywhere; the binary needs no GPU
    python3 benches/gpu.py cases.jsonl OUT.json    # needs a GPU, cupy and torch

Outputs are poisoned before each run, and every kernel runs twice: both results must be equal bit for bit. Times are medians of
CUDA events over buffers that rotate, so that inputs do not lie in the cache from the run before. Writes OUT after each case.
"""
import json, sys, time

import cupy, numpy, torch

# Of the norm of the difference over the norm of the exact result. A sum of n products rounded one after the other is off by about
# sqrt(n) / 2 units of 6e-8; element functions are within a few.
TOLERANCE = {"softmax": 2e-7, "layer norm": 2e-7, "gelu": 2e-7, "exp": 2e-7, "tanh": 2e-7, "sum": 2e-7}


def tolerance(computes, inputs):
    return TOLERANCE[computes] if computes in TOLERANCE else 3e-8 * inputs[0].shape[-1] ** 0.5


def exact(computes, x):
    f = [a.astype(cupy.float64) for a in x]
    if computes == "product":
        return f[0] @ f[1]
    if computes == "softmax":
        e = cupy.exp(f[0] - f[0].max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
    if computes == "layer norm":
        c = f[0] - f[0].mean(-1, keepdims=True)
        return c / cupy.sqrt((c * c).mean(-1, keepdims=True) + 1e-5) * f[1] + f[2]
    if computes == "gelu":
        from cupyx.scipy.special import erf

        return 0.5 * f[0] * (1 + erf(f[0] / numpy.sqrt(2)))
    return {"exp": cupy.exp, "tanh": cupy.tanh, "sum": lambda a: a.sum(-1)}[computes](f[0])


def peer(computes, x):
    t = [torch.as_tensor(a, device="cuda") for a in x]
    f = torch.nn.functional
    return {
        "product": lambda: t[0] @ t[1],
        "softmax": lambda: torch.softmax(t[0], -1),
        "layer norm": lambda: f.layer_norm(t[0], t[0].shape[-1:], t[1], t[2]),
        "gelu": lambda: f.gelu(t[0]),
        "exp": lambda: torch.exp(t[0]),
        "tanh": lambda: torch.tanh(t[0]),
        "sum": lambda: t[0].sum(-1),
    }[computes]


def median_us(run, event, elapsed, runs=30):
    """By events of the library whose stream `run` uses."""
    for _ in range(3):
        run(0)
    times = []
    for i in range(runs):
        start, end = event(), event()
        start.record()
        run(i)
        end.record()
        end.synchronize()
        times.append(elapsed(start, end) * 1e3)
    return float(numpy.median(times))


def cupy_us(run):
    return median_us(run, cupy.cuda.Event, cupy.cuda.get_elapsed_time)


def torch_us(run):
    return median_us(run, lambda: torch.cuda.Event(enable_timing=True), lambda start, end: start.elapsed_time(end))


def measure(case):
    start = time.time()
    module = cupy.RawModule(code=case["text"], options=("--std=c++17",), backend="nvrtc")
    kernel = module.get_function(case["entry"])
    record = {"name": case["name"], "compile_ms": (time.time() - start) * 1e3}
    record |= {"registers": kernel.num_regs, "local_bytes": kernel.local_size_bytes, "shared_bytes": case["shared"]}
    if case["shared"] > 48 * 1024:
        kernel.max_dynamic_shared_size_bytes = case["shared"]
    random = cupy.random.default_rng(7)
    make = lambda dims: random.standard_normal(dims, dtype=cupy.float32)
    inputs = [make(b["dims"]) for b in case["buffers"] if not b["out"]]
    error = cupy.zeros(1, cupy.int64)

    def launch(inputs, outputs):
        rest, results = iter(inputs), iter(outputs)
        arguments = [next(results) if b["out"] else next(rest) for b in case["buffers"]]
        kernel(tuple(case["grid"]), tuple(case["block"]), (error, *arguments), shared_mem=case["shared"])

    poisoned = lambda: [cupy.full(b["dims"], cupy.nan, cupy.float32) for b in case["buffers"] if b["out"]]
    first, second = poisoned(), poisoned()
    launch(inputs, first)
    launch(inputs, second)
    cupy.cuda.Device().synchronize()
    want = exact(case["computes"], inputs)
    record["relative_error"] = float(cupy.linalg.norm((first[0] - want).ravel()) / cupy.linalg.norm(want.ravel()))
    record["equal_bits"] = bool((first[0].view(cupy.uint32) == second[0].view(cupy.uint32)).all())
    record["error_word"] = int(error[0])
    fine = record["relative_error"] <= tolerance(case["computes"], inputs) and record["equal_bits"] and record["error_word"] == 0
    record["right"] = fine
    del want
    sets = [[a if i == 0 else a.copy() for a in inputs] for i in range(3)]
    record["us"] = cupy_us(lambda i: launch(sets[i % 3], first))
    torch.backends.cuda.matmul.allow_tf32 = False
    peers = [peer(case["computes"], s) for s in sets]
    record["torch_us"] = torch_us(lambda i: peers[i % 3]())
    moved = sum(a.nbytes for a in inputs) + first[0].nbytes
    record["gbytes_s"] = moved / record["us"] / 1e3
    if case["computes"] == "product":
        (m, k), n = inputs[0].shape, inputs[1].shape[1]
        record["tflops"] = 2 * m * n * k / record["us"] / 1e6
    return record


def main():
    cases, out = sys.argv[1:3]
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    versions = {"driver": cupy.cuda.runtime.driverGetVersion(), "nvrtc": cupy.cuda.nvrtc.getVersion()}
    report = {"device": device, "torch": torch.__version__, "cupy": cupy.__version__, **versions, "cases": []}
    big = cupy.zeros(1 << 28, cupy.float32)
    other = cupy.empty_like(big)
    report["copy_gbytes_s"] = 2 * big.nbytes / cupy_us(lambda i: cupy.copyto(other, big)) / 1e3
    del big, other
    for line in open(cases):
        case = json.loads(line)
        try:
            record = measure(case)
        except Exception as e:  # one kernel that does not build or run hides no other
            record = {"name": case["name"], "right": False, "failed": f"{type(e).__name__}: {e}"[:2000]}
        report["cases"].append(record)
        with open(out, "w") as f:
            json.dump(report, f, indent=1)
        print(json.dumps(record), flush=True)
    print(f"{device}: copy {report['copy_gbytes_s']:.0f} GB/s")
    wrong = [c["name"] for c in report["cases"] if not c["right"]]
    print(f"{len(report['cases']) - len(wrong)} right, {len(wrong)} wrong: {', '.join(wrong)}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

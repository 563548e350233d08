#!/usr/bin/env python3
"""Whole models that nnc compiles for a GPU, timed beside PyTorch and torch.compile.

    python3 benches/gpu_models.py target/release/nnc OUT.json    # needs a GPU, NVRTC, torch, torchvision, transformers

Random weights; f32 without TF32. A call takes inputs from memory of the CPU and brings results there, for all alike; `kernels_us` is
what the device takes for nnc's kernels alone. Writes OUT after each model.
"""
import json, os, subprocess, sys, tempfile, time

import numpy, torch

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False


def resnet(batch):
    from torchvision.models import resnet18

    return resnet18(), [torch.randn(batch, 3, 224, 224)], lambda y: y


def bert(batch, length):
    from transformers import BertConfig, BertModel

    ids = torch.randint(0, 30000, (batch, length))
    return BertModel(BertConfig()), [ids], lambda y: y.last_hidden_state


MODELS = [
    ("ResNet-18, 1", "dsl-examples/resnet18.nn", dict(B=1, H=224, W=224), lambda: resnet(1)),
    ("ResNet-18, 32", "dsl-examples/resnet18.nn", dict(B=32, H=224, W=224), lambda: resnet(32)),
    ("BERT base, 1 x 128", "dsl-examples/bert_encoder.nn", dict(B=1, T=128), lambda: bert(1, 128)),
    ("BERT base, 8 x 128", "dsl-examples/bert_encoder.nn", dict(B=8, T=128), lambda: bert(8, 128)),
]


# Operators that are no loop nests: a model of each, and what does the same to tensors on the GPU.
ROUTINES = [
    ("sort 50257", "model M(x: [50257]) -> (y: [50257], i: i32[50257]) = sort(x, axis = 0, descending = true)",
     lambda: [torch.randn(50257)], lambda x: torch.sort(x, descending=True, stable=True)),
    ("top_k 50 of 8 x 50257", "model M(x: [8, 50257]) -> (y: [8, 50], i: i32[8, 50]) = top_k(x, 50, axis = 1)",
     lambda: [torch.randn(8, 50257)], lambda x: torch.topk(x, 50)),
    ("cumsum 8 x 50257", "model M(x: [8, 50257]) -> [8, 50257] = cumsum(x)",
     lambda: [torch.randn(8, 50257)], lambda x: torch.cumsum(x, 1)),
    ("scatter_add 4096 rows of 768 to 30522", "model M(x: [30522, 768], i: i32[4096, 768], y: [4096, 768]) -> [30522, 768] = scatter_add(x, i, y, axis = 0)",
     lambda: [torch.randn(30522, 768), torch.randint(0, 30522, (4096, 768)), torch.randn(4096, 768)],
     lambda x, i, y: torch.scatter_add(x, 0, i, y)),
    ("scatter_add 1M to 64K", "model M(x: [65536], i: i32[1048576], y: [1048576]) -> [65536] = scatter_add(x, i, y, axis = 0)",
     lambda: [torch.randn(65536), torch.randint(0, 65536, (1048576,)), torch.randn(1048576)],
     lambda x, i, y: torch.scatter_add(x, 0, i, y)),
]


def routine_us(nnc, text, make, call):
    """Times of the kernels alone, nnc's and PyTorch's, on the same inputs."""
    inputs = make()
    names = ["x", "i", "y"]
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("routine.nn"), "w") as f:
            f.write(text)
        given = []
        for name, x in zip(names, inputs):
            numpy.save(path(f"{name}.npy"), x.numpy().astype("int32") if name == "i" else x.numpy())
            given += ["--input", f"{name}={path(name)}.npy"]
        record = nnc_us(nnc, path("routine.nn"), {}, given)
    inputs = [x.cuda() for x in inputs]
    times = []
    for _ in range(20):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call(*inputs)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return record | {"torch_kernels_us": float(numpy.median(times))}


def nnc_us(nnc, file, dims, more=()):
    defines = [part for name, n in dims.items() for part in ("-D", f"{name}={n}")]
    command = [nnc, "bench", file, "--target", "cuda", "--json", "--profile", "--seconds", "0.7", *defines, *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"nnc": done.stderr.strip()[-2000:]}
    line = json.loads(done.stdout)
    kernels = sorted(line["kernels"], key=lambda k: -k["us"])
    return {
        "nnc_us": line["median_us"],
        "kernels_us": sum(k["us"] for k in kernels),
        "launches": len(kernels),
        "first_result_ms": line["first_result_ms"],
        "slowest": [{"kernel": k["kernel"], "us": k["us"], "tflops": k["operations"] / k["us"] / 1e6, "source": k["source"]} for k in kernels[:6]],
    }


def median_us(call):
    for _ in range(3):
        call()
    times = []
    start = time.time()
    while time.time() - start < 0.7 or len(times) < 7:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return float(numpy.median(times)) * 1e6


def peers_us(make):
    model, inputs, result = make()
    model = model.eval().cuda()
    record = {}
    with torch.inference_mode():
        for name, made in (("torch", model), ("torch.compile", torch.compile(model))):
            try:
                record[name + "_us"] = median_us(lambda: result(made(*[x.cuda() for x in inputs])).cpu())
            except Exception as e:  # a peer that does not run hides no other
                record[name] = f"{type(e).__name__}: {e}"[:500]
    return record


def main():
    nnc, out = sys.argv[1:3]
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "models": []}

    def add(record):
        report["models"].append(record)
        with open(out, "w") as f:
            json.dump(report, f, indent=1)
        print(json.dumps(record), flush=True)

    for name, text, make, call in ROUTINES:
        add({"name": name} | routine_us(nnc, text, make, call))
    for name, file, dims, make in MODELS:
        add({"name": name} | nnc_us(nnc, file, dims) | peers_us(make))


if __name__ == "__main__":
    main()

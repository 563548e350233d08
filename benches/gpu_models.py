#!/usr/bin/env python3
"""Whole models that nnc compiles for a GPU, timed beside PyTorch and torch.compile.

    python3 benches/gpu_models.py target/release/nnc OUT.json    # needs a GPU, NVRTC, torch, torchvision, transformers

Random weights; f32 without TF32. A call takes inputs from memory of the CPU and brings results there, for all alike; `kernels_us` is
what the device takes for nnc's kernels alone. Writes OUT after each model.
"""
import json, subprocess, sys, time

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
    ("ResNet-18, 1", "resnet18.nn", dict(B=1, H=224, W=224), lambda: resnet(1)),
    ("ResNet-18, 32", "resnet18.nn", dict(B=32, H=224, W=224), lambda: resnet(32)),
    ("BERT base, 1 x 128", "bert_encoder.nn", dict(B=1, T=128), lambda: bert(1, 128)),
    ("BERT base, 8 x 128", "bert_encoder.nn", dict(B=8, T=128), lambda: bert(8, 128)),
]


def nnc_us(nnc, file, dims):
    defines = [part for name, n in dims.items() for part in ("-D", f"{name}={n}")]
    command = [nnc, "bench", f"dsl-examples/{file}", "--target", "cuda", "--json", "--profile", "--seconds", "0.7", *defines]
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
    for name, file, dims, make in MODELS:
        record = {"name": name} | nnc_us(nnc, file, dims) | peers_us(make)
        report["models"].append(record)
        with open(out, "w") as f:
            json.dump(report, f, indent=1)
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()

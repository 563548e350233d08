#!/usr/bin/env python3
"""What PyTorch makes of the digits network in forty steps of AdamW, from nnc's first values: tests/golden/training.

    cargo build --release
    pip install torch numpy
    python3 scripts/golden-training.py
"""
import csv, gzip, json, os, subprocess, tempfile

import numpy as np
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS, ROWS = 40, 32


def read(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    names = [name for name in header if name != "__metadata__"]
    array = lambda info: np.frombuffer(data[slice(*info["data_offsets"])], np.float32).reshape(info["shape"]).copy()
    return {name: torch.from_numpy(array(header[name])) for name in names}


def write(path, tensors):
    header, data = {}, b""
    for name, tensor in sorted(tensors.items()):
        raw = tensor.detach().numpy().astype(np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data)


def main():
    with tempfile.TemporaryDirectory() as folder:
        first = os.path.join(folder, "first.safetensors")
        model = os.path.join(ROOT, "tests/models/digits_in_order.nn")
        nnc = os.path.join(ROOT, "target/release/nnc")
        data = os.path.join(ROOT, "dsl-examples")
        subprocess.run([nnc, "train", model, "--data", data, "--epochs", "0", "--save", first], check=True)
        weights = {name: tensor.requires_grad_() for name, tensor in read(first).items()}
    with gzip.open(os.path.join(ROOT, "dsl-examples/data/digits-train.csv.gz"), "rt") as f:
        table = torch.tensor([[float(x) for x in row] for row in list(csv.reader(f))[1:]])
    images, labels = table[:, :64] / 16, table[:, 64].long()
    matrices = [w for w in weights.values() if w.ndim >= 2]
    biases = [w for w in weights.values() if w.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0}]
    optimiser = torch.optim.AdamW(groups, lr=3e-3)
    losses = []
    for step in range(STEPS):
        batch = slice(step * ROWS, (step + 1) * ROWS)
        hidden = torch.relu(images[batch] @ weights["fc1.weight"].T + weights["fc1.bias"])
        scores = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
        loss = torch.nn.functional.cross_entropy(scores, labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    tensors = {name: tensor for name, tensor in weights.items()} | {"losses": torch.stack(losses)}
    write(os.path.join(ROOT, "tests/golden/training/digits.safetensors"), tensors)


if __name__ == "__main__":
    main()

"""Runs `nnc bench` on an exported workload of the peers' harness, with its inputs and expected results.

    peer_onnx.py NNC W.onnx --threads N --seconds S

W.json and W.bin stand beside W.onnx. Prints the line of JSON that `nnc bench --json` prints.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np


def tensors(path, which):
    with open(path + ".json") as f:
        meta = json.load(f)
    with open(path + ".bin", "rb") as blob:
        data = blob.read()
    for t in meta[which]:
        count = int(np.prod(t["shape"], dtype=np.int64))
        yield t["name"], np.frombuffer(data, t["dtype"], count, t["offset"]).reshape(t["shape"])


def main():
    nnc, model, *options = sys.argv[1:]
    path = os.path.splitext(model)[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [nnc, "bench", model, "--json", *options]
        for option, which in (("--input", "inputs"), ("--expect", "outputs")):
            for name, array in tensors(path, which):
                file = os.path.join(folder, f"{which}-{name}.npy")
                np.save(file, array)
                command += [option, f"{name}={file}"]
        sys.exit(subprocess.run(command).returncode)


main()

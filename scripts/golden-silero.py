#!/usr/bin/env python3
"""Probabilities of Silero VAD by ONNX Runtime for the sentences that scripts/fetch-silero.sh fetched: one .npy for each in
tests/golden/silero. Needs numpy, onnx and onnxruntime.

The package's safetensors file and its ONNX files come from two trainings: the same network, other numbers. So there are
two sets: `published` has the weights of the safetensors file put into the ONNX file; `onnx` has that file as it is, its
own weights written to .cache/silero/onnx.safetensors."""

import json
import pathlib
import struct
import wave

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).parent.parent
FROM, TO = ROOT / ".cache/silero", ROOT / "tests/golden/silero"
STEP, TAIL = 512, 64
# Names in the safetensors file, and in the ONNX file.
NAMES = {"stft_conv.weight": "model.stft.forward_basis_buffer"}
for kind in ["weight", "bias"]:
    NAMES |= {f"conv{i + 1}.{kind}": f"model.encoder.{i}.reparam_conv.{kind}" for i in range(4)}
    NAMES |= {f"lstm_cell.{kind}_{of}": f"model.decoder.rnn.{kind}_{of}" for of in ["ih", "hh"]}
    NAMES[f"final_conv.{kind}"] = f"model.decoder.decoder.2.{kind}"


def tensors(graph):
    """Those of a graph and of the graphs in it, by name."""
    yield from ((t.name, t) for t in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from tensors(attribute.g)
            elif node.op_type == "Constant" and attribute.HasField("t"):
                yield node.output[0], attribute.t


def read_safetensors(path):
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            found[name] = np.frombuffer(data[start + first : start + last], "<f4").reshape(entry["shape"])
    return found


def write_safetensors(path, arrays):
    header, at = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(a.astype("<f4").tobytes() for a in arrays.values()))


def probabilities(session, samples):
    """One for each 32 ms, the last filled up with zeros."""
    samples = np.pad(samples, (TAIL, -len(samples) % STEP))
    state = np.zeros((2, 1, 128), np.float32)
    found = []
    for start in range(0, len(samples) - TAIL, STEP):
        part = samples[None, start : start + TAIL + STEP]
        p, state = session.run(None, {"input": part, "state": state, "sr": np.array(16000, np.int64)})
        found.append(p[0, 0])
    return np.array(found, np.float32)


def record(model, to):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    to.mkdir(parents=True, exist_ok=True)
    for path in sorted(FROM.glob("*.wav")):
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2), path
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        found = probabilities(session, samples)
        np.save(to / f"{path.stem}.npy", found)
        print(to.name, path.name, len(found), f"{(found > 0.5).mean():.0%} speech")


model = onnx.load(FROM / "silero_vad_16k_op15.onnx")
own = dict(tensors(model.graph))
write_safetensors(FROM / "onnx.safetensors", {name: numpy_helper.to_array(own[name]) for name in NAMES.values()})
record(model, TO / "onnx")
for name, array in read_safetensors(FROM / "silero_vad_16k.safetensors").items():
    assert list(own[NAMES[name]].dims) == list(array.shape), name
    own[NAMES[name]].CopyFrom(numpy_helper.from_array(array, own[NAMES[name]].name))
record(model, TO / "published")

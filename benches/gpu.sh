#!/usr/bin/env bash
# benches/gpu.sh OUT: the kernels that nnc emits as CUDA C++, on a machine with a GPU, cupy and PyTorch but no Rust.
# GPU_CASES names the release binary `gpu_cases`, built anywhere; without it the one in target/release is taken.
set -euo pipefail
out=${1:?usage: benches/gpu.sh OUT, a folder}
here=$(cd "$(dirname "$0")" && pwd)
cases=${GPU_CASES:-$here/../target/release/gpu_cases}
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"
timeout 60 "$cases" >"$out/cases.jsonl"
# Ends with an error if a kernel is wrong; gpu.json says which.
timeout 280 python3 "$here/gpu.py" "$out/cases.jsonl" "$out/gpu.json"

#!/usr/bin/env bash
# scripts/fetch-nvrtc.sh [FOLDER]: NVIDIA's compiler of kernels from PyPI (90 MB), without a toolkit, a driver or a GPU. Prints
# the library's file, for NNC_NVRTC.
set -euo pipefail
folder=${1:-$(cd "$(dirname "$0")/.." && pwd)/target/nvrtc}
library=$folder/nvidia/cu13/lib/libnvrtc.so.13
if [ ! -f "$library" ]; then
  mkdir -p "$folder"
  python3 -m pip download -q --no-deps --only-binary=:all: --platform manylinux2014_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64 -d "$folder" nvidia-cuda-nvrtc==13.0.88 >&2
  python3 -m zipfile -e "$folder"/nvidia_cuda_nvrtc-13.0.88-*.whl "$folder"
fi
[ -f "$library" ] && echo "$library"

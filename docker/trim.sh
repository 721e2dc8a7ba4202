#!/bin/sh
# Removes from a virtual environment what nothing of ours runs: test suites, C headers, torch's tools for
# builds, Arrow's RPC, ONNX Runtime's converters. `docker/trim.sh VENV`
set -eu

cd "$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
rm -rf torch/include torch/share torch/test pyarrow/include pyarrow/*flight*
rm -rf onnx/backend/test onnxruntime/quantization onnxruntime/tools onnxruntime/transformers
find torch/bin -type f ! -name torch_shm_manager -delete # which import torch looks for
find . -type d -name tests -prune -exec rm -rf {} +

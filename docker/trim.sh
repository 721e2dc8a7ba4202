#!/bin/sh
# Removes from a virtual environment what nothing of ours runs: test suites, C headers, torch's tools for
# builds, Arrow's RPC and S3, ONNX Runtime's converters and its library for C (Python's extension has
# all of it, too), ONNX's reference implementation, what torch names for its compiler alone. `docker/trim.sh VENV`
set -eu

cd "$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
rm -rf torch/include torch/share torch/test pyarrow/include pyarrow/*flight* pyarrow/*s3*
rm -rf onnxruntime/quantization onnxruntime/tools onnxruntime/transformers onnxruntime/capi/libonnxruntime.so*
rm -rf onnx/backend onnx/reference networkx setuptools
find . -path './onnx/*.cc' -delete
find torch/bin -type f ! -name torch_shm_manager -delete # which import torch looks for
find . -type d -name tests -prune -exec rm -rf {} +

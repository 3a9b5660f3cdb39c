"""ONNX Runtime on an NVIDIA GPU, by its CUDA provider."""

from __future__ import annotations

from echoexport.runtime.engine.ort_gpu import OrtGpuBackend
from echoexport.runtime.engine.ort_providers import CUDA_PROVIDER

BACKEND = OrtGpuBackend("ort_cuda", CUDA_PROVIDER)

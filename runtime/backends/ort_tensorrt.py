"""ONNX Runtime on an NVIDIA GPU, by its TensorRT provider.

What TensorRT does not take is left to CUDA.
"""

from __future__ import annotations

from echoexport.runtime.engine.ort_gpu import OrtGpuBackend
from echoexport.runtime.engine.ort_providers import TENSORRT_PROVIDER

BACKEND = OrtGpuBackend("ort_tensorrt", TENSORRT_PROVIDER)

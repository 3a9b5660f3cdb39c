# EchoExport's runtime on JetPack 6 (Orin, TensorRT 10.3, Python 3.10): it compiles bundles and runs them.
# NOT RUN ON HARDWARE. Checked as text only: instructions, paths, and the command lines against the program.
#
#   docker build -f docs/deploy/jetpack-6.Dockerfile -t echoexport:jetpack-6 .
#
# Base: NVIDIA's image for JetPack 6.1 and 6.2 on its container registry (NGC, "NVIDIA L4T JetPack"), about 5 GB. Its TensorRT
# is JetPack's own. The smaller "NVIDIA L4T TensorRT" image r10.3.0-runtime leaves out python3-libnvinfer, which would have
# to be added from NVIDIA's package repository.
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}

RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*

# TensorRT's module belongs to the system's Python, hence the environment that sees it. cuda-python is of JetPack's CUDA.
COPY pyproject.toml README.md LICENSE /src/
COPY calibration /src/calibration
COPY export /src/export
COPY profiles /src/profiles
COPY runtime /src/runtime
COPY targets /src/targets
RUN python3 -m venv --system-site-packages /opt/echoexport \
    && /opt/echoexport/bin/pip install --no-cache-dir '/src[onnxruntime,landmarks]' 'cuda-python==12.6.*' \
    && rm -rf /src

RUN useradd --uid 10001 --create-home --groups video echoexport \
    && install -d -o echoexport -g echoexport /var/cache/echoexport /var/lib/echoexport
ENV PATH=/opt/echoexport/bin:$PATH \
    ECHOEXPORT_CACHE=/var/cache/echoexport \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME ["/var/cache/echoexport", "/var/lib/echoexport"]
WORKDIR /var/lib/echoexport
USER echoexport
ENTRYPOINT ["echoexport"]
CMD ["doctor"]

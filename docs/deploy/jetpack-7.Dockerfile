# EchoExport's runtime on JetPack 7.2 (Orin, TensorRT 10.16.2, Python 3.12): it compiles bundles and runs them.
# NOT RUN ON HARDWARE. Checked as text only: instructions, paths, and the command lines against the program.
#
#   docker build -f docs/deploy/jetpack-7.Dockerfile -t echoexport:jetpack-7 .
#
# Base: NVIDIA publishes no l4t-jetpack image for Jetson Linux 39. JetPack 7.2 is Ubuntu 24.04 with CUDA 13.2, and so is NVIDIA's
# CUDA image for arm64; TensorRT comes from NVIDIA's package repository for Jetson, suite r39.2, in JetPack's own version
# (the CUDA image's repository has another one: apt takes the newest of the libraries that a package depends on, and then
# refuses the package, unless all are pinned). The key's fingerprint is that of NVIDIA's nvidia-l4t-apt-source package.
ARG BASE=nvcr.io/nvidia/cuda:13.2.1-runtime-ubuntu24.04
FROM ${BASE}

ARG TENSORRT=10.16.2.10-1+cuda13.2
ARG REPOSITORY=https://repo.download.nvidia.com/jetson
ARG FINGERPRINT=3C6D1FF3100C8C3ABB0869C0E6543461A9996195
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl gnupg python3-venv \
    && curl -fsSL "${REPOSITORY}/jetson-ota-public.asc" -o /tmp/key.asc \
    && gpg --show-keys --with-colons /tmp/key.asc | grep -q "^fpr:*${FINGERPRINT}:" \
    && gpg --dearmor -o /usr/share/keyrings/nvidia-jetson.gpg /tmp/key.asc \
    && echo "deb [signed-by=/usr/share/keyrings/nvidia-jetson.gpg] ${REPOSITORY}/common r39.2 main" \
        > /etc/apt/sources.list.d/nvidia-jetson.list \
    && printf 'Package: %s\nPin: version %s\nPin-Priority: 1001\n' \
        "tensorrt* libnvinfer* libnvonnxparsers* python3-libnvinfer*" "${TENSORRT}" \
        > /etc/apt/preferences.d/tensorrt \
    && apt-get update \
    && apt-get install -y --no-install-recommends "tensorrt-libs=${TENSORRT}" "python3-libnvinfer=${TENSORRT}" \
    && rm -rf /tmp/key.asc /var/lib/apt/lists/*

# TensorRT's module belongs to the system's Python, hence the environment that sees it. cuda-python is of JetPack's CUDA.
COPY pyproject.toml README.md LICENSE /src/
COPY calibration /src/calibration
COPY export /src/export
COPY profiles /src/profiles
COPY runtime /src/runtime
COPY targets /src/targets
RUN python3 -m venv --system-site-packages /opt/echoexport \
    && /opt/echoexport/bin/pip install --no-cache-dir '/src[onnxruntime,landmarks]' 'cuda-python==13.2.*' \
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

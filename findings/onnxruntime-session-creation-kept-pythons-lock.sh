#!/usr/bin/env bash
# ONNX Runtime 1.30.0 and 1.31.1, CPU provider, a graph of 12,000 nodes handed over as bytes.
#
# One would guess: the work of InferenceSession(...) is C++, so other Python threads go on while a session is made, as they
# do during run().
# So it is: up to 1.30 the constructor keeps Python's lock for more than a third of the time it takes, in one piece: every
# other thread of the process stands still for it, a live session's or an event loop's too. From 1.31 on it lets go.
#
# Ends with 0 while it is so, with 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/show.py" <<'PYTHON'
import sys
import threading
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NODES = 6000
ROUNDS = 5
holds = onnxruntime.__version__.startswith("1.30.")


def make_graph():
    """Products and tanh in a chain, as bytes."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for number in range(NODES):
        weight = rng.standard_normal((64, 64)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"]))
        nodes.append(helper.make_node("Tanh", [f"m{number}"], [f"t{number}"]))
        last = f"t{number}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def watch(graph):
    """The longest time that another thread stood still, as a share of the time a session takes."""
    gaps, over = [], threading.Event()

    def tick():
        last = time.perf_counter()
        while not over.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    time.sleep(0.1)
    gaps.clear()
    began = time.perf_counter()
    onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    took = time.perf_counter() - began
    over.set()
    thread.join()
    return max(gaps) / took


graph = make_graph()
# of several rounds the least: what else the machine does can only lengthen a silence
share = min(watch(graph) for _ in range(ROUNDS))
print(f"onnxruntime {onnxruntime.__version__}: another thread stood still for {share:.0%} of the time at a stretch")
sys.exit(0 if (share > 0.33) == holds else 1)
PYTHON
for version in 1.30.0 1.31.1; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet "onnxruntime==$version" onnx==1.22.0 numpy==2.4.6
    "$work/$version/bin/python" "$work/show.py"
done

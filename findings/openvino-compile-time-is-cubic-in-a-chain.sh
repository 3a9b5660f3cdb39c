#!/usr/bin/env bash
# OpenVINO 2026.4.1, CPU plugin, one thread.
#
# One would guess: compiling twice as many nodes takes about twice as long.
# So it is: an unbroken chain of element-wise operators becomes one fused kernel, and what that costs grows with about the
# cube of its length: 800 operators take some twenty times as long as 200. With a product of matrices after every 25th the
# same take a tenth of the time, and that grows with their number.
#
# Ends with 0 while it is so, with 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/show.py" <<'PYTHON'
import sys
import time

import numpy as np
import openvino
from openvino import opset13 as operators

WIDTH = 64
core = openvino.Core()


def measure(length, every):
    """Processor seconds of compiling a chain; after ``every`` operators a product (0: none)."""
    given = operators.parameter([1, WIDTH], np.float32)
    last = given
    for number in range(1, length + 1):
        last = operators.multiply(last, given) if number % 2 else operators.tanh(last)
        if every and number % every == 0:
            weight = np.full((WIDTH, WIDTH), 1 / WIDTH, np.float32)
            last = operators.matmul(last, operators.constant(weight), False, False)
    model = openvino.Model([last], [given], "chain")
    began = time.process_time()
    core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1})
    return time.process_time() - began


print("OpenVINO", openvino.__version__)
measure(10, 0)  # what the first compilation costs beside
growth = {}
for name, every in (("unbroken", 0), ("a product after every 25th", 25)):
    times = [min(measure(length, every) for _ in range(2)) for length in (200, 400, 800)]
    growth[name] = times[2] / times[0]
    print(f"  {name}: 200, 400, 800 operators take {', '.join(f'{took:.2f}' for took in times)} s,",
          f"the last {growth[name]:.1f} times the first")
unbroken, broken = growth.values()
sys.exit(0 if unbroken > 14 and broken < 9 else 1)
PYTHON
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet openvino==2026.4.1 numpy==2.4.6
"$work/env/bin/python" "$work/show.py"

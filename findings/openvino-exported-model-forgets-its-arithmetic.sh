#!/usr/bin/env bash
# OpenVINO 2026.4.1 on a CPU with bf16 instructions.
#
# One would guess: a model that was compiled for f32 with two streams, exported and imported again is the same model.
# So it is: the exported model holds neither. Imported without a word it computes in bf16, with one stream, and its
# outputs differ from those before; the same properties given to import_model bring all of it back.
#
# Ends with 0 while it is so, with 1 where it has changed, with 2 where the CPU has no bf16 to show it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet openvino==2026.4.1 numpy==2.4.6
cat > "$work/show.py" <<'PYTHON'
import io
import sys

import numpy as np
import openvino
from openvino import opset13 as ops

core = openvino.Core()
has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
print("openvino", openvino.__version__, core.get_property("CPU", "FULL_DEVICE_NAME"), sorted(has))
if "BF16" not in has:
    print("this CPU has no bf16")
    sys.exit(2)
draw = np.random.default_rng(0)
x = ops.parameter([64, 256], np.float32)
weight = ops.constant(draw.standard_normal((256, 256)).astype(np.float32))
model = openvino.Model([ops.matmul(x, weight, False, False)], [x])
wanted = {
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "THROUGHPUT",
    "NUM_STREAMS": "2",
}
compiled = core.compile_model(model, "CPU", wanted)
exported = compiled.export_model()
data = exported if isinstance(exported, bytes) else exported.getvalue()
given = draw.standard_normal((64, 256)).astype(np.float32)


def describe(one):
    kept = {name: str(one.get_property(name)) for name in ("INFERENCE_PRECISION_HINT", "NUM_STREAMS")}
    difference = np.abs(one([given])[0] - compiled([given])[0]).max()
    return kept, float(difference)


before = describe(compiled)
silent = describe(core.import_model(io.BytesIO(data), "CPU"))
told = describe(core.import_model(io.BytesIO(data), "CPU", wanted))
for name, found in (("compiled", before), ("imported", silent), ("imported, told again", told)):
    print(f"{name:22}", *found)
forgets = "f32" not in silent[0]["INFERENCE_PRECISION_HINT"] and silent[0]["NUM_STREAMS"] == "1"
sys.exit(0 if forgets and silent[1] > 1e-2 and told[0] == before[0] and told[1] == 0 else 1)
PYTHON
"$work/env/bin/python" "$work/show.py"

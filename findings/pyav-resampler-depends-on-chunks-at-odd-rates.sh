#!/usr/bin/env bash
# PyAV 18.1.0 (libswresample).
#
# One would guess: a stream resampler gives the same samples however the sound is cut into chunks, as it holds back what it
# cannot know yet; at 22050, 44100 or 48000 Hz to 16000 it does, to the bit. At a rate whose ratio to 16000 does not cancel
# down to 1024 or less (19662 Hz: 8000/9831) it does not: single samples differ by a millionth or so between one chunk and many.
#
# Ends with 0 while it is so, with 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/show.py" <<'PYTHON'
import sys

import av
import numpy as np


def convert(samples, rate, size):
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16000)
    parts = []
    for start in range(0, samples.size, size):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + size], format="flt", layout="mono")
        frame.sample_rate = rate
        parts += resampler.resample(frame)
    parts += resampler.resample(None)
    return np.concatenate([part.to_ndarray().reshape(-1) for part in parts if part is not None])


print("PyAV", av.__version__)
moved = {}
for rate in (22050, 44100, 48000, 19662):
    sound = (0.1 * np.random.default_rng(1).standard_normal(2 * rate)).astype(np.float32)
    whole = convert(sound, rate, sound.size)
    worst = 0.0
    for size in (1, 7, 160):
        found = convert(sound, rate, size)
        assert found.size == whole.size
        worst = max(worst, float(np.abs(found - whole).max()))
    moved[rate] = worst
    print(f"{rate} Hz to 16000, chunks of 1, 7 and 160 against all at once: largest difference {worst:.2g}")
sys.exit(0 if moved.pop(19662) > 0 and not any(moved.values()) else 1)
PYTHON
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet install av==18.1.0 numpy==2.4.6
"$work/venv/bin/python" "$work/show.py"

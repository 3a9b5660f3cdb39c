#!/usr/bin/env bash
# PyAV 14.1.0 and 18.1.0 with the FFmpeg and x264 of their wheels.
#
# One would guess: a profile that the codec's own list has can be set on it by that name, and is then what the encoder
# writes; and that x264's option "profile" takes the names that x264 takes.
# So it is: codec_context.profile = "Constrained Baseline", a name of the list, is kept, told back, and written as High.
# "Baseline" is written as (constrained) Baseline. As an option, profile=baseline is refused by the older FFmpeg, where the
# generic option of the same name comes first and takes numbers alone, and taken by the newer.
# A browser's decoder that was promised avc1.42c0.. is then given 8x8 transforms.
#
# Ends with 0 while it is so, with 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/show.py" <<'PYTHON'
import sys
from fractions import Fraction

import av
import numpy as np

NAMES = {66: "Baseline", 77: "Main", 100: "High"}
new = int(av.__version__.split(".")[0]) >= 18


def write(attribute=None, option=None):
    """The profile that the parameter set says, of a picture with something to compress."""
    options = {} if option is None else {"profile": option}
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width = encoder.height = 64
    encoder.pix_fmt = "yuv420p"
    encoder.framerate = 25
    encoder.time_base = Fraction(1, 25)
    encoder.options = options
    if attribute is not None:
        encoder.profile = attribute
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    try:
        packets = encoder.encode(av.VideoFrame.from_ndarray(noise)) + encoder.encode(None)
    except av.FFmpegError as error:
        return f"refused: {type(error).__name__}"
    data = b"".join(bytes(packet) for packet in packets)
    for start in (b"\0\0\1\x67", b"\0\0\1\x27"):
        if start in data:
            return NAMES[data[data.index(start) + 4]]
    return NAMES[(encoder.extradata or b"")[5]]


print("PyAV", av.__version__, "libavcodec", ".".join(map(str, av.library_versions["libavcodec"])))
known = av.CodecContext.create("libx264", "w").profiles
print("the codec's list:", known)
found = {
    "attribute Constrained Baseline": write(attribute="Constrained Baseline"),
    "attribute Baseline": write(attribute="Baseline"),
    "option profile=baseline": write(option="baseline"),
}
for way, told in found.items():
    print(f"  {way}: {told}")
as_expected = (
    found["attribute Constrained Baseline"] == "High"
    and found["attribute Baseline"] == "Baseline"
    and (found["option profile=baseline"] == "Baseline") == new
)
sys.exit(0 if as_expected else 1)
PYTHON
for version in 14.1.0 18.1.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet "av==$version" numpy==2.4.6
    "$work/$version/bin/python" "$work/show.py"
done

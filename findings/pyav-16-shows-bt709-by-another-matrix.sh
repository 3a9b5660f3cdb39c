#!/usr/bin/env bash
# PyAV 16.1.0, and 17.1.0 beside it.
#
# One would guess: a frame of a video that says BT.709 becomes RGB by BT.709, and all the more where it is said outright
# (src_colorspace="ITU709"). So it is in 17.1.0. 16.1.0 takes BT.601 for both, as it sets no matrix where the one asked for
# is the frame's own; a strong red is off by 20 of 255. Frames that are encoded come out right in both.
#
# Ends with 0 while it is so, with 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/show.py" <<'PYTHON'
import sys

import av
import numpy as np

path = sys.argv[1]
colour = np.uint8((200, 30, 40))
with av.open(path, "w") as container:
    stream = container.add_stream("libx264", rate=24, options={"crf": "1"})
    stream.width = 64
    stream.height = 48
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
    picture = av.VideoFrame.from_ndarray(np.tile(colour, (48, 64, 1)), format="rgb24")
    container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")))
    container.mux(stream.encode(None))
with av.open(path) as container:
    frame = next(container.decode(video=0))
    luma = int(frame.to_ndarray()[24, 32])
    plain = frame.to_ndarray(format="rgb24")[24, 32].astype(int)
    told = frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()[24, 32].astype(int)
off = [int(np.abs(shown - colour).max()) for shown in (plain, told)]
print("PyAV", av.__version__, "tag", int(frame.colorspace), "luma", luma, "(BT.709: 73, BT.601: 86)", "off by", off)
wrong = [value > 10 for value in off]
sys.exit(0 if abs(luma - 73) <= 1 and wrong == [sys.argv[2] == "wrong"] * 2 else 1)
PYTHON
for case in "16.1.0 wrong" "17.1.0 right"; do
    read -r version wanted <<< "$case"
    python3 -m venv --clear "$work/env"
    "$work/env/bin/pip" install --quiet "av==$version" "numpy==2.2.6"
    "$work/env/bin/python" "$work/show.py" "$work/a.mp4" "$wanted" || { echo "changed: PyAV $version"; exit 1; }
done

#!/usr/bin/env bash
# PyAV 18.1.0 with the FFmpeg 8 of its wheel, mp4 muxer, fragments that are sent as they become whole.
#
# One would guess: a fragmented mp4 written to a stream that cannot seek is forgotten as it is sent, so that memory stays
# level for as long as a live stream runs.
# So it is: the muxer keeps the place and time of each track's part of each fragment, for an index that it writes after
# the last one, where a live stream never comes. With a fragment for each frame memory grows without end, megabytes an
# hour. With movflags skip_trailer it stays level.
#
# Takes two minutes. Ends with 0 while it is so, with 1 where it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
cat > "$work/show.py" <<'PYTHON'
import io
import os
import sys
from fractions import Fraction

import av
import numpy as np

FRAMES = 120_000
WARM = 20_000
print("PyAV", av.__version__, "libavformat", ".".join(map(str, av.library_versions["libavformat"])))


class Nowhere(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        self.fragments = getattr(self, "fragments", 0) + bytes(data).count(b"moof")
        return len(data)


def measure_resident():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write(flags):
    """Packets of one picture that was encoded once, so that nothing but the muxer works."""
    nowhere = Nowhere()
    options = {"movflags": flags, "frag_duration": "1"}
    with av.open(nowhere, "w", format="mp4", options=options) as output:
        video = output.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        picture.pts = 0
        picture.time_base = Fraction(1, 25)
        data = bytes(video.encode(picture)[0])
        begun = 0
        for number in range(FRAMES):
            if number == WARM:
                begun = measure_resident()
            packet = av.Packet(data)
            packet.stream = video
            packet.time_base = Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration = 1
            packet.is_keyframe = True
            output.mux(packet)
        grown = measure_resident() - begun
    print(f"{flags}: {nowhere.fragments} fragments; memory grew by {grown / 1e6:.1f} MB, "
          f"{grown / (FRAMES - WARM):.0f} bytes a fragment")
    return grown / (FRAMES - WARM)


without = write("empty_moov+default_base_moof+skip_trailer")
with_index = write("empty_moov+default_base_moof")
if not (without < 5 and with_index > 20):
    print("this is no longer so")
    sys.exit(1)
PYTHON
"$work/env/bin/python" "$work/show.py"

"""Makes the portrait and the voice that ship with the character: drawn, and spoken by espeak-ng.

``python -m echoexport.export.demo.media FOLDER`` writes both into a folder; in a
checkout ``export/demo/data`` holds the ones that ship. The voice needs espeak-ng.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.gates.mouth import draw_person_frames
from echoexport.export.demo.speech import demo_voice_plan, speak_clip, write_wave
from echoexport.export.demo.world.geometry import face_box
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.demo.world.state import FaceState
from echoexport.runtime.files.aside import refuse_output, replaced_file

__all__ = [
    "PERSON",
    "_SIDE",
    "draw_portrait",
    "measure_face_box",
    "write_media",
    "write_portrait",
    "write_voice",
]

PERSON = 1_000_461
"""The seed of the person in the portrait: held out, as all from a million on, and with
lips that stand out clearly."""

_SIDE = 512
"""Width and height of the portrait in pixels."""


def draw_portrait() -> NDArray[np.uint8]:
    """The person at rest, mouth closed and eyes open: (512, 512, 3) uint8 RGB."""
    portrait: NDArray[np.uint8] = draw_person_frames(
        draw_person(PERSON), FaceState.rest(1), size=_SIDE
    )[0]
    return portrait


def measure_face_box() -> tuple[float, float, float, float]:
    """From hair line to chin and cheek to cheek in the portrait's pixels, to a tenth of one."""
    x0, y0, x1, y1 = (
        round(float(edge), 1)
        for edge in face_box(stack_people([draw_person(PERSON)]), size=_SIDE)[0]
    )
    return x0, y0, x1, y1


def write_portrait(path: Path) -> None:
    """Draw the portrait into a PNG, whole or not at all.

    Raises OutputError where it cannot be written.
    """
    from PIL import Image

    with replaced_file(path, refuse=refuse_output) as aside, aside.open("wb") as file:
        Image.fromarray(draw_portrait()).save(file, "png", optimize=True)


def write_voice(path: Path) -> None:
    """Speak the demo's two sentences into a WAV, whole or not at all.

    It lasts six seconds: 16 kHz, mono, 16 bits.

    Raises OutputError where it cannot be written, and what ``speak`` raises where
    espeak-ng is missing.
    """
    write_wave(path, speak_clip(demo_voice_plan()).samples)


def write_media(folder: Path) -> None:
    """Write ``portrait.png`` and ``voice.wav`` into a folder that is there.

    Raises what writing either raises.
    """
    write_portrait(folder / "portrait.png")
    write_voice(folder / "voice.wav")


if __name__ == "__main__":
    write_media(Path(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)))

"""Small honest pictures and sounds in every format that is likely to be given to a command."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

_MODELS = Path(__file__).parents[2].parent / "shared" / "media" / "models"
SIDE = (72, 80)
RATE = 16_000
_PICTURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "L", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "CMYK", {"compression": "tiff_adobe_deflate"}),
    ("PPM", "RGB", {}),
    ("TGA", "RGB", {"compression": "tga_rle"}),
    ("ICO", "RGB", {"sizes": [SIDE]}),
    ("PCX", "RGB", {}),
    ("SGI", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("AVIF", "RGB", {}),
    ("DDS", "RGB", {}),
    ("QOI", "RGB", {}),
)
# suffix, codec, how samples lie
_SOUNDS = (
    *(("wav", "pcm_s16le", "s16"), ("wav", "pcm_u8", "u8"), ("wav", "pcm_f32le", "flt")),
    *(("wav", "pcm_s24le", "s32"), ("wav", "adpcm_ms", "s16"), ("aiff", "pcm_s16be", "s16")),
    *(("mp3", "libmp3lame", "s16p"), ("ipod", "aac", "fltp"), ("adts", "aac", "fltp")),
    *(("ogg", "vorbis", "fltp"), ("ogg", "libopus", "s16"), ("flac", "flac", "s16")),
    *(("matroska", "libopus", "s16"), ("mov", "pcm_s16le", "s16"), ("mpegts", "aac", "fltp")),
)


def make_pictures() -> Iterator[bytes]:
    """Each format once, with EXIF and a colour profile where it takes them."""
    from PIL import Image, ImageCms, features

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:24] + bytes(12) + profile[36:]  # without the date
    exif = Image.Exif()
    exif[0x112] = 6
    exif[0x10E] = "a description"
    for name, mode, options in _PICTURES:
        feature = {"AVIF": "avif", "JPEG2000": "jpg_2000"}.get(name)
        if feature is not None and not features.check(feature):
            continue
        notes: dict[str, Any] = {}
        if name in ("PNG", "JPEG", "WEBP", "TIFF"):
            notes = {"exif": exif, "icc_profile": profile if mode == "RGB" else None}
        file = BytesIO()
        _draw(mode).save(file, name, **options, **{k: v for k, v in notes.items() if v})
        yield file.getvalue()


def _draw(mode: str) -> Any:
    from PIL import Image

    width, height = SIDE
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([3 * rows, 3 * columns, 2 * (rows + columns)], axis=-1).astype(np.uint8)
    image = Image.fromarray(picture)
    if mode == "I;16":
        return Image.fromarray((rows * 800).astype(np.uint16))
    if mode == "RGBA":
        image.putalpha(Image.fromarray((columns * 3).astype(np.uint8)))
        return image
    return image.convert(mode)


def make_face_models(package: str) -> Iterator[bytes]:
    """BlazeFace as it is, and in a zip as a face landmarker has it.

    None where the package that runs it is not installed, or the shared media are not here.
    """
    found = sorted(_MODELS.glob("blaze_face_short_range.tflite"))
    for path in found if find_spec(package) is not None else ():
        yield path.read_bytes()
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            entry = zipfile.ZipInfo("face_detector.tflite")
            archive.writestr(entry, path.read_bytes())
        yield packed.getvalue()


def make_sounds() -> Iterator[bytes]:
    """A third of a second in each format, of one channel or two."""
    for number, (container, codec, kind) in enumerate(_SOUNDS):
        sound = _encode(container, codec, kind, channels=1 + number % 2)
        if sound is not None:
            yield sound


def _encode(container: str, codec: str, kind: str, *, channels: int) -> bytes | None:
    import av

    layout = "mono" if channels == 1 else "stereo"
    file = BytesIO()
    file.name = ""
    # without a date or drawn numbers: the same bytes every time
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as output:
        try:
            track = output.add_stream(codec, rate=48_000 if codec == "libopus" else RATE)
        except ValueError:  # this build of the library has no such encoder
            return None
        track.layout = layout
        track.format = kind
        track.codec_context.options = {"flags": "+bitexact", "strict": "experimental"}
        for packet in [*track.encode(_speak(kind, layout, rate=track.rate)), *track.encode(None)]:
            output.mux(packet)
    return file.getvalue()


def _speak(kind: str, layout: str, *, rate: int) -> Any:
    import av

    seconds = np.arange(rate // 3) / rate
    tone = np.sin(2 * np.pi * 220 * seconds) * np.hanning(seconds.size) * 0.4
    rows = np.stack([tone] if layout == "mono" else [tone, tone * 0.5])
    frame = av.AudioFrame.from_ndarray(rows.astype(np.float32), format="fltp", layout=layout)
    frame.sample_rate = rate
    (converted,) = av.AudioResampler(kind, layout, rate).resample(frame)
    return converted

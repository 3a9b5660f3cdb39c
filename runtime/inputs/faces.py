"""Finds the face in a portrait with a BlazeFace model file, run by OpenVINO or LiteRT."""

from __future__ import annotations

import importlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.errors import MissingPackageError, PortraitError, UnknownNameError
from echoexport.runtime.files.temporary import temporary_folder
from echoexport.runtime.inputs.blazeface import (
    NETWORK_SIDE,
    SAME_FACE,
    FaceBox,
    FaceNetwork,
    FloatArray,
    find_boxes,
    measure_overlap,
    merge_boxes,
)
from echoexport.runtime.inputs.resize import Picture, average_boxes

_MEMORY = Path("/dev/shm")

ANCHORS = 896
# engine to package, in the order in which they are tried
ENGINES = {"openvino": "openvino", "litert": "ai_edge_litert"}
MOST_MODEL_BYTES = 64 << 20  # a zip may claim any size; the detector has 0.2 MB
SEARCH_SIDE = 2048  # pixels; the network sees 128, so more would only cost time
TILE_LEVELS = 3
SMALL_FACE = 0.5  # of the picture's longer side; a smaller face is looked at again from near
SURE_SCORE = 0.75  # what it must then reach: well framed faces score 0.9 and more, noise up to 0.7


def detect_face(picture: Picture, *, model: Path, engine: str | None = None) -> FaceBox | None:
    """Find the largest face in an (H,W,3) uint8 RGB picture; None where there is none.

    ``model`` is MediaPipe's BlazeFace short-range detector, as ``.tflite`` or inside a
    face landmarker's ``.task``. It is run by ``engine``, "openvino" or "litert"; None
    takes the first that is installed.

    Among faces with a score of at least 0.5 the one of largest area wins, as in the
    original. The original's detector is another one, MTCNN; BlazeFace's box is square
    and reaches the ears. The two were not compared, so crop and mask may come out
    somewhat different here; a box from elsewhere can be given to ``crop_face`` instead.

    Raises PortraitError naming a model file that cannot be used, MissingPackageError
    without an engine.
    """
    return select_face(find_faces(picture, open_detector(model, engine=engine)))


def find_faces(picture: Picture, network: FaceNetwork) -> list[FaceBox]:
    """All faces in a picture, best score first.

    The network misses faces that fill little of what it sees. So where the whole
    picture shows none, overlapping square tiles are searched, down to an eighth of the
    shorter side, until some size finds any. What looks like a small face is framed anew
    and must be one from near as well.
    """
    shrink = max(max(picture.shape[:2]) // SEARCH_SIDE, 1)
    small = average_boxes(picture, boxes=(shrink, shrink))
    faces = _confirm(small, find_boxes(small, network), network)
    for side in _tile_sides(small):
        if faces:
            break
        found = [
            face for tile in _tiles(small, side=side) for face in _search(small, tile, network)
        ]
        faces = _confirm(small, merge_boxes(found), network)
    return [_scale(face, factor=shrink) for face in faces]


def select_face(faces: list[FaceBox]) -> FaceBox | None:
    """The face of largest area, None of an empty list."""
    return max(faces, key=lambda face: face.area, default=None)


def open_detector(model: Path, *, engine: str | None = None) -> FaceNetwork:
    """Load a BlazeFace model file into an engine.

    See :func:`detect_face` for both and for the errors.
    """
    if engine is not None and engine not in ENGINES:
        raise UnknownNameError("face engine", engine, known=ENGINES)
    content = _read_detector(Path(model))
    chosen = engine or _choose_engine()
    opener = {"openvino": _open_openvino, "litert": _open_litert}[chosen]
    with _naming(model, chosen, "read"):
        network = opener(content, name=str(model))

    def run(picture: FloatArray) -> tuple[FloatArray, FloatArray]:
        with _naming(model, chosen, "run"):
            return network(picture)

    return run


@contextmanager
def _naming(model: Path, engine: str, deed: str) -> Iterator[None]:
    """What a library says becomes a line with the file's name."""
    try:
        yield
    except (ImportError, MissingPackageError) as error:
        raise _missing_package() from error
    except (RuntimeError, ValueError) as error:
        raise PortraitError(
            f"{model} is damaged or no TFLite model: {engine} cannot {deed} it"
        ) from error


def _choose_engine() -> str:
    for engine, package in ENGINES.items():
        try:
            importlib.import_module(package)
        except ImportError:
            continue
        return engine
    raise _missing_package()


def _missing_package() -> MissingPackageError:
    return MissingPackageError(
        "openvino (or ai-edge-litert, from the extra 'landmarks')",
        extra="openvino",
        purpose="finding a face",
    )


def _read_detector(model: Path) -> bytes:
    """The detector's TFLite bytes, out of the zip where the file is a ``.task``."""
    if not model.is_file():
        raise PortraitError(f"{model}: there is no such face model file")
    content = model.read_bytes()
    # a TFLite file may carry a zip of labels at its end, so look at this first
    if content[4:8] != b"TFL3":
        content = _unpack_detector(content, name=str(model))
    return content


def _unpack_detector(content: bytes, *, name: str) -> bytes:
    wanted = "wanted BlazeFace as .tflite, or a face landmarker's .task"
    try:
        with zipfile.ZipFile(BytesIO(content)) as bundle:
            found = [
                info
                for info in bundle.infolist()
                if Path(info.filename).name == "face_detector.tflite"
            ]
            if not found or found[0].file_size > MOST_MODEL_BYTES:
                raise PortraitError(f"{name} is a zip without a face_detector.tflite: {wanted}")
            return bundle.read(found[0])
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, ValueError) as error:
        raise PortraitError(f"{name} is not a face model: {wanted}") from error


def _open_openvino(content: bytes, *, name: str) -> FaceNetwork:
    from echoexport.runtime.backends.openvino import open_core

    core = open_core()
    with _named_tflite(content, name=name) as file:
        # Left to itself OpenVINO computes in bf16 on CPUs that have it, and boxes move
        # by pixels.
        model = _read_tflite(file)
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    shapes = {port.any_name: _list_sides(port) for port in compiled.outputs}
    boxes, scores = _match_outputs(_list_sides(compiled.inputs[0]), shapes, name=name)

    def run(picture: FloatArray) -> tuple[FloatArray, FloatArray]:
        found = compiled(picture)
        return found[boxes][0], found[scores][0, :, 0]

    return run


def _read_tflite(file: str) -> Any:
    """OpenVINO's model of a file, by its reader of TFLite alone.

    Of a damaged one it would try the others as well, which print what they think of it.

    Raises:
        ValueError: it is damaged.
    """
    from openvino.frontend import FrontEndManager

    reader = FrontEndManager().load_by_framework("tflite")
    try:
        return reader.convert(reader.load(file))
    except Exception as error:  # the library raises classes of its own
        raise ValueError(str(error)) from error


@contextmanager
def _named_tflite(content: bytes, *, name: str) -> Iterator[str]:
    """A path that ends in .tflite, as OpenVINO wants it: the model's own, or a copy's."""
    own = Path(name)
    if own.suffix == ".tflite" and own.is_file() and own.stat().st_size == len(content):
        yield name
        return
    with temporary_folder("face", instead=(_MEMORY,)) as folder:
        file = folder / "face_detector.tflite"
        file.write_bytes(content)
        yield str(file)


def _list_sides(port: Any) -> tuple[int, ...]:
    """The shape of an OpenVINO input or output, -1 where it is dynamic."""
    return tuple(side.get_length() if side.is_static else -1 for side in port.partial_shape)


def _open_litert(content: bytes, *, name: str) -> FaceNetwork:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    outputs: dict[str, dict[str, Any]] = {
        out["name"]: out for out in interpreter.get_output_details()
    }
    shapes = {key: tuple(map(int, out["shape"])) for key, out in outputs.items()}
    boxes, scores = _match_outputs(tuple(map(int, entry["shape"])), shapes, name=name)

    def run(picture: FloatArray) -> tuple[FloatArray, FloatArray]:
        interpreter.set_tensor(entry["index"], picture)
        interpreter.invoke()
        found = [interpreter.get_tensor(outputs[key]["index"]) for key in (boxes, scores)]
        return found[0][0], found[1][0, :, 0]

    return run


def _match_outputs(
    entry: tuple[int, ...], outputs: Mapping[str, tuple[int, ...]], *, name: str
) -> tuple[str, str]:
    """Names of the box and the score output, told apart by shape: files order them differently."""
    by_shape = {shape: key for key, shape in outputs.items()}
    boxes = by_shape.get((1, ANCHORS, 16))
    scores = by_shape.get((1, ANCHORS, 1))
    if entry != (1, NETWORK_SIDE, NETWORK_SIDE, 3) or boxes is None or scores is None:
        found = f"input {entry}, outputs {', '.join(map(str, outputs.values()))}"
        raise PortraitError(
            f"{name} is not BlazeFace short range (128x128 pixels, 896 anchors): {found}"
        )
    return boxes, scores


def _tile_sides(picture: Picture) -> Iterator[int]:
    """Sides of the tiles to try: the shorter side where the picture is long, then halves of it."""
    short, long = sorted(picture.shape[:2])
    for level in range(TILE_LEVELS + 1):
        side = short >> level
        if NETWORK_SIDE <= side < 0.8 * long:
            yield side


def _tiles(picture: Picture, *, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Squares that cover the picture, each half over the next: x0, y0, x1, y1."""
    height, width = picture.shape[:2]
    for y in _tile_starts(height, side=side):
        for x in _tile_starts(width, side=side):
            yield x, y, x + side, y + side


def _tile_starts(length: int, *, side: int) -> list[int]:
    steps = -(-(length - side) // (side // 2))
    return [int(start) for start in np.linspace(0, length - side, steps + 1)]


def _confirm(picture: Picture, faces: list[FaceBox], network: FaceNetwork) -> list[FaceBox]:
    """Large faces as they are; small ones as a closer look shows them, or not at all."""
    small = SMALL_FACE * max(picture.shape[:2])
    closer = [
        _look_closer(picture, face, network) if face.x1 - face.x0 < small else face
        for face in faces
    ]
    return merge_boxes([face for face in closer if face is not None])


def _look_closer(picture: Picture, face: FaceBox, network: FaceNetwork) -> FaceBox | None:
    """The same face found in a window of twice its size, where the network sees it best."""
    height, width = picture.shape[:2]
    middle_x = (face.x0 + face.x1) / 2
    middle_y = (face.y0 + face.y1) / 2
    reach = face.x1 - face.x0
    x0 = max(int(middle_x - reach), 0)
    y0 = max(int(middle_y - reach), 0)
    x1 = min(int(middle_x + reach) + 1, width)
    y1 = min(int(middle_y + reach) + 1, height)
    if x1 <= x0 or y1 <= y0:
        return None
    sure = [
        found for found in _search(picture, (x0, y0, x1, y1), network) if found.score >= SURE_SCORE
    ]
    same = [found for found in sure if measure_overlap(found, face) > SAME_FACE]
    return max(same, key=lambda found: found.score, default=None)


def _search(
    picture: Picture, tile: tuple[int, int, int, int], network: FaceNetwork
) -> list[FaceBox]:
    """Faces in one tile, in pixels of the whole picture."""
    x0, y0, x1, y1 = tile
    return [
        FaceBox(face.x0 + x0, face.y0 + y0, face.x1 + x0, face.y1 + y0, face.score)
        for face in find_boxes(picture[y0:y1, x0:x1], network)
    ]


def _scale(face: FaceBox, *, factor: int) -> FaceBox:
    x0, y0, x1, y1 = (value * factor for value in face.corners)
    return FaceBox(x0, y0, x1, y1, face.score)

"""Finding the face: search with made-up networks, both engines on portraits."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.errors import MissingPackageError, PortraitError, UnknownNameError
from echoexport.runtime.inputs import faces
from echoexport.runtime.inputs.blazeface import (
    FaceBox,
    FaceNetwork,
)
from echoexport.runtime.inputs.faces import detect_face, find_faces, open_detector, select_face
from echoexport.runtime.inputs.portrait import crop_face, read_portrait
from echoexport.runtime.inputs.resize import resize_bilinear

# Opens a model that is refused, in a process whose stderr is all that libraries print.
OPENING = """
import sys
from pathlib import Path
from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs.faces import open_detector

try:
    open_detector(Path(sys.argv[1]), engine="openvino")
except PortraitError:
    print("refused")
"""


def test_the_largest_face_is_selected_not_the_surest() -> None:
    small = FaceBox(0, 0, 10, 10, 0.99)
    large = FaceBox(20, 20, 60, 60, 0.6)
    assert select_face([small, large]) is large
    assert select_face([]) is None


def see_bright_square(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.zeros((896, 16), np.float32)
    logits = np.full(896, -20, np.float32)
    rows, columns = np.nonzero(picture[0, ..., 0] > 0)
    # Blind for small ones, as the true network.
    if len(rows) and min(np.ptp(rows), np.ptp(columns)) > 20:
        x0 = columns.min()
        y0 = rows.min()
        x1 = columns.max() + 1
        y1 = rows.max() + 1
        values[512, :4] = (x0 + x1) / 2 - 8, (y0 + y1) / 2 - 8, x1 - x0, y1 - y0
        logits[512] = 3
    return values, logits


@pytest.mark.parametrize("corner", [(0, 0), (700, 300), (1100, 500), (333, 77)])
def test_a_small_face_is_found_in_tiles_and_framed_anew(corner: tuple[int, int]) -> None:
    picture = np.zeros((600, 1200, 3), np.uint8)
    x, y = corner
    picture[y : y + 100, x : x + 100] = 255
    (face,) = find_faces(picture, see_bright_square)
    assert face.corners == pytest.approx((x, y, x + 100, y + 100), abs=3)


def test_a_picture_beyond_the_search_size_gives_boxes_in_its_own_pixels() -> None:
    picture = np.zeros((4200, 4100, 3), np.uint8)
    picture[1000:3600, 900:3500] = 255
    (face,) = find_faces(picture, see_bright_square)
    assert face.corners == pytest.approx((900, 1000, 3500, 3600), abs=70)


def test_a_small_face_that_a_closer_look_does_not_confirm_is_dropped(
    answer: Callable[..., FaceNetwork],
) -> None:
    looks: Iterator[FaceNetwork] = iter([answer((512, (20, 20, 30, 30), 5.0))])

    def see_a_face_once(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return next(looks, answer())(picture)

    assert find_faces(np.zeros((200, 200, 3), np.uint8), see_a_face_once) == []


def test_a_missing_model_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match=r"none\.tflite: there is no such face model file"):
        detect_face(np.zeros((64, 64, 3), np.uint8), model=tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 cut"])
def test_a_file_that_is_neither_tflite_nor_task_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.task").write_bytes(content)
    with pytest.raises(PortraitError, match=r"a\.task is not a face model: wanted BlazeFace"):
        open_detector(tmp_path / "a.task")


def test_a_zip_without_a_detector_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.task", "w") as bundle:
        bundle.writestr("pose_detector.tflite", b"abcdTFL3")
    with pytest.raises(PortraitError, match=r"a\.task is a zip without a face_detector\.tflite"):
        open_detector(tmp_path / "a.task")


@pytest.mark.parametrize("engine", ["openvino", "litert"])
def test_a_damaged_model_is_refused_with_its_name(tmp_path: Path, engine: str) -> None:
    pytest.importorskip({"openvino": "openvino", "litert": "ai_edge_litert"}[engine])
    (tmp_path / "a.tflite").write_bytes(b"abcdTFL3" + bytes(range(256)) * 8)
    with pytest.raises(PortraitError, match=rf"a\.tflite is damaged or no TFLite model: {engine}"):
        open_detector(tmp_path / "a.tflite", engine=engine)


def test_a_model_that_fails_when_it_runs_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise RuntimeError("Input tensor 65 lacks data")

    monkeypatch.setattr(faces, "_open_litert", lambda content, *, name: fail)
    (tmp_path / "a.tflite").write_bytes(b"abcdTFL3")
    network = open_detector(tmp_path / "a.tflite", engine="litert")
    with pytest.raises(PortraitError, match=r"a\.tflite is damaged .* litert cannot run it"):
        network(np.zeros((1, 128, 128, 3), np.float32))


def test_openvino_prints_nothing_about_a_model_that_only_begins_well(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "a.tflite").write_bytes(b"abcdTFL3")
    line = [sys.executable, "-c", OPENING, str(tmp_path / "a.tflite")]
    told = subprocess.run(line, capture_output=True, text=True, timeout=100, check=True)
    assert (told.stdout, told.stderr) == ("refused\n", "")


def test_without_any_engine_the_extras_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tflite").write_bytes(b"abcdTFL3")
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingPackageError, match=r"landmarks.*echoexport\[openvino\]"):
        open_detector(tmp_path / "a.tflite")


def test_an_unknown_engine_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="litert, openvino"):
        open_detector(tmp_path / "a.tflite", engine="openvin")


@pytest.fixture(scope="module")
def network(media_dir: Path) -> FaceNetwork:
    pytest.importorskip("openvino")
    return open_detector(media_dir / "models" / "blaze_face_short_range.tflite", engine="openvino")


# Brow to chin and cheek to cheek, read off the pictures: a box must hold them without
# being far larger.
FACES = {
    "portrait_a.jpg": (165, 228, 385, 465),
    "portrait_b.png": (150, 208, 352, 415),
    "portrait_d.jpg": (145, 165, 360, 365),
}


@pytest.mark.parametrize("name", FACES)
def test_the_box_covers_the_face(name: str, media_dir: Path, network: FaceNetwork) -> None:
    face = select_face(find_faces(read_portrait(media_dir / name), network))
    assert face is not None
    x0, y0, x1, y1 = FACES[name]
    assert x0 - 50 < face.x0 < x0 + 10
    assert y0 - 60 < face.y0 < y0 + 10
    assert x1 - 10 < face.x1 < x1 + 50
    assert y1 - 10 < face.y1 < y1 + 50
    assert face.score > 0.9


def test_the_drawn_portrait_has_a_face_too(reference_dir: Path, network: FaceNetwork) -> None:
    portrait = read_portrait(reference_dir / "portrait.png")
    face = select_face(find_faces(portrait, network))
    assert face is not None
    assert face.corners == pytest.approx((125, 175, 381, 431), abs=15)
    assert crop_face(portrait, face.corners, size=(256, 256)).mask.any()


@pytest.mark.parametrize("name", FACES)
def test_both_engines_and_both_model_files_agree(
    name: str, media_dir: Path, network: FaceNetwork
) -> None:
    pytest.importorskip("ai_edge_litert")
    picture = read_portrait(media_dir / name)
    models = media_dir / "models"
    wanted = select_face(find_faces(picture, network))
    assert wanted is not None
    for engine in ("openvino", "litert"):
        found = detect_face(
            picture, model=models / "face_landmarker_v2_with_blendshapes.task", engine=engine
        )
        assert found is not None
        assert found.corners == pytest.approx(wanted.corners, abs=0.5)
        assert found.score == pytest.approx(wanted.score, abs=1e-3)


def expect_box(
    picture: np.ndarray, network: FaceNetwork, *, box: tuple[float, ...], within: float = 15
) -> None:
    face = select_face(find_faces(picture, network))
    assert face is not None
    assert face.corners == pytest.approx(box, abs=within)


def test_a_mirrored_padded_enlarged_or_turned_portrait_moves_the_box(
    media_dir: Path, network: FaceNetwork
) -> None:
    picture = read_portrait(media_dir / "portrait_b.png")
    face = select_face(find_faces(picture, network))
    assert face is not None
    x0, y0, x1, y1 = face.corners
    expect_box(picture[:, ::-1], network, box=(512 - x1, y0, 512 - x0, y1))
    padded = np.pad(picture, ((0, 300), (200, 0), (0, 0)))
    expect_box(padded, network, box=(x0 + 200, y0, x1 + 200, y1))
    enlarged = resize_bilinear(picture, size=(1024, 1024))
    expect_box(enlarged, network, box=(2 * x0, 2 * y0, 2 * x1, 2 * y1))
    expect_box(np.rot90(picture), network, box=(y0, 512 - x1, y1, 512 - x0), within=45)


def test_a_small_face_in_a_large_picture_is_found(media_dir: Path, network: FaceNetwork) -> None:
    portrait = read_portrait(media_dir / "portrait_b.png")
    face = select_face(find_faces(portrait, network))
    assert face is not None
    scene = np.full((900, 1600, 3), 90, np.uint8)
    scene[300:556, 1000:1256] = resize_bilinear(portrait, size=(256, 256))
    wanted = [
        offset + value / 2 for offset, value in zip((1000, 300) * 2, face.corners, strict=True)
    ]
    expect_box(scene, network, box=tuple(wanted), within=8)


@pytest.mark.parametrize("seed", range(3))
def test_noise_holds_no_face(seed: int, network: FaceNetwork) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    assert find_faces(noise, network) == []


@pytest.mark.parametrize("engine", ["openvino", "litert"])
def test_another_network_is_refused_with_its_shapes(
    tmp_path: Path, media_dir: Path, engine: str
) -> None:
    pytest.importorskip({"openvino": "openvino", "litert": "ai_edge_litert"}[engine])
    with zipfile.ZipFile(
        media_dir / "models" / "face_landmarker_v2_with_blendshapes.task"
    ) as bundle:
        (tmp_path / "mesh.tflite").write_bytes(bundle.read("face_landmarks_detector.tflite"))
    with pytest.raises(
        PortraitError, match=r"mesh\.tflite is not BlazeFace short range .*256, 256, 3"
    ):
        open_detector(tmp_path / "mesh.tflite", engine=engine)


def test_a_model_that_is_a_tflite_file_needs_no_temporary_folder(
    media_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a temporary folder was asked for")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    model = media_dir / "models" / "blaze_face_short_range.tflite"
    picture = read_portrait(media_dir / "portrait_b.png")
    assert detect_face(picture, model=model, engine="openvino") is not None

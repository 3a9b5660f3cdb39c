"""Uploads are looked at before they are decoded, kept in memory, and shown to their owner alone."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from echoexport.runtime.errors import PortraitError, SettingError
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.serve.portraits import PortraitShelf, check_upload
from echoexport.runtime.serve.refusals import RefusedError
from echoexport.runtime.serve.settings import ServeSettings


def draw(kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", size, "red").save(held, kind)
    return held.getvalue()


@pytest.fixture
def shelf() -> PortraitShelf:
    files = [Path("faces/anna.png"), Path("ben.jpg")]
    return PortraitShelf(files, ServeSettings(portraits_per_token=2))


def test_the_first_portrait_is_the_usual_one(shelf: PortraitShelf) -> None:
    assert shelf.names == ["anna", "ben"]
    assert shelf.find(None, "me") == Path("faces/anna.png")
    assert shelf.find("ben", "me") == Path("ben.jpg")


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(SettingError, match="both called anna"):
        PortraitShelf([Path("a/anna.png"), Path("b/anna.jpg")], ServeSettings())


@pytest.mark.parametrize("name", ["nobody", "../anna", "faces/anna.png", ""])
def test_no_name_leads_to_a_path(shelf: PortraitShelf, name: str) -> None:
    with pytest.raises(RefusedError, match="anna, ben"):
        shelf.find(name, "me")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_upload_is_its_owners_alone(shelf: PortraitShelf, kind: str) -> None:
    name = shelf.upload(draw(kind), "me")
    found = shelf.find(name, "me")
    assert isinstance(found, StoredPicture)
    assert found.content == draw(kind)
    with pytest.raises(RefusedError, match="no such portrait"):
        shelf.find(name, "another")


def test_the_oldest_uploads_of_an_owner_go(shelf: PortraitShelf) -> None:
    kept = shelf.upload(draw(), "another")
    names = [shelf.upload(draw(), "me") for _ in range(3)]
    with pytest.raises(RefusedError):
        shelf.find(names[0], "me")
    assert shelf.find(names[1], "me")
    assert shelf.find(kept, "another")


@pytest.mark.parametrize("content", [b"", b"no picture", draw("BMP"), draw("GIF"), draw("TIFF")])
def test_other_formats_meet_no_decoder(content: bytes) -> None:
    with pytest.raises(PortraitError, match="JPEG, PNG, WEBP are"):
        check_upload(content, most_pixels=10**6)


def test_a_picture_with_too_many_pixels_is_refused_by_its_head() -> None:
    content = draw("PNG", (300, 200))
    head = content[: content.index(b"IDAT") + 6]  # its pixels never came
    with pytest.raises(PortraitError, match="300x200"):
        check_upload(head, most_pixels=1000)

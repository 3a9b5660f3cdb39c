"""A second family, planted beside the real ones for the length of a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoexport.runtime.contract import families
from echoexport.runtime.contract.family import Family

SINGER = """
from echoexport.runtime.contract.family import Drive, Family

FAMILY = Family(
    name="test-singer",
    networks=("audio_encoder", "denoising_unet", "vae_decoder", "upscaler"),
    drives=(Drive("hands", network="audio_encoder", channels=3, every_frame=True),),
    optional=frozenset({"upscaler"}),
)
"""


@pytest.fixture
def singer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """A family of four networks, of which a bundle may lack the upscaler."""
    folder = tmp_path / "more-families"
    folder.mkdir()
    (folder / "test_singer.py").write_text(SINGER, encoding="utf-8")
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(folder)])
    yield families.find_family("test-singer")
    sys.modules.pop(f"{families.__name__}.test_singer")

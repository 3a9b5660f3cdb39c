"""Where caches lie: the same rule for all four."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from echoexport.runtime.files.cache_folders import Cache, find_cache_folder

every_cache = pytest.mark.parametrize("cache", get_args(Cache))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ECHOEXPORT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path / "home"


def test_there_are_four() -> None:
    assert get_args(Cache) == ("reference", "engines", "traces", "progress")


@every_cache
def test_our_own_variable_comes_first_and_names_the_folder_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Cache
) -> None:
    monkeypatch.setenv("ECHOEXPORT_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert find_cache_folder(cache) == tmp_path / "own" / cache


@every_cache
@pytest.mark.parametrize("own", [None, ""])
def test_the_desktops_variable_comes_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Cache, own: str | None
) -> None:
    if own is not None:
        monkeypatch.setenv("ECHOEXPORT_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert find_cache_folder(cache) == tmp_path / "xdg" / "echoexport" / cache


@every_cache
@pytest.mark.parametrize("shared", [None, "", "relative", "./here"])
def test_without_either_and_with_a_relative_one_it_is_the_home_folders_cache(
    monkeypatch: pytest.MonkeyPatch, home: Path, cache: Cache, shared: str | None
) -> None:
    if shared is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", shared)
    assert find_cache_folder(cache) == home / ".cache" / "echoexport" / cache


@every_cache
def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, cache: Cache) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert find_cache_folder(cache) is None


@pytest.mark.parametrize(
    ("cache", "place"),
    [("reference", "."), ("traces", "."), ("engines", "engines"), ("progress", "progress")],
)
def test_a_folder_that_is_given_holds_engines_and_progress_in_folders_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Cache, place: str
) -> None:
    monkeypatch.setenv("ECHOEXPORT_CACHE", str(tmp_path / "own"))
    assert find_cache_folder(cache, given=tmp_path / "given") == tmp_path / "given" / place

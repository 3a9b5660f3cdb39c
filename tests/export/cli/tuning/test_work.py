"""What is measured beside what, and where what was found is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.export.cli.tuning import work
from echoexport.export.cli.tuning.work import find_sides, open_progress, parse_numbers
from echoexport.profiles.tuning import study
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import SettingError


@pytest.fixture
def arithmetics(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that sets what a bundle called so computes in: its own choice, and the rest."""

    def give(**found: dict[str, str]) -> None:
        def stand_in(folder: Path, wanted: list[str], *, backend: str | None) -> dict[str, str]:
            own = found[folder.name]
            return {one: name for one, name in own.items() if not (one and wanted) or one in wanted}

        monkeypatch.setattr(study, "list_arithmetics", stand_in)

    return give


def test_numbers_are_read_between_commas_each_once() -> None:
    assert parse_numbers("--steps", "6, 1,6", least=1) == (6, 1)


@pytest.mark.parametrize("text", ["", "1,", "1.5", "-1", "1e3", "²", "9999999999"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="--steps"):
        parse_numbers("--steps", text, least=1)


def test_the_reference_is_in_fp32_where_it_can_be_had(arithmetics: Callable[..., None]) -> None:
    arithmetics(own={"": "bf16", "fp32": "fp32"})
    found = find_sides(Path("own"), [], [], backend=None)
    assert [(side.label, side.compute) for side in found.sides] == [("fp32", "fp32"), ("bf16", "")]
    assert (found.present, found.tried) == ("bf16", ("bf16", "fp32"))


def test_a_bundle_in_fp32_is_its_own_reference(arithmetics: Callable[..., None]) -> None:
    arithmetics(own={"": "fp32", "bf16": "bf16"})
    found = find_sides(Path("own"), [], [], backend=None)
    assert [(side.label, side.compute) for side in found.sides] == [("fp32", ""), ("bf16", "bf16")]


def test_what_was_asked_for_alone_is_tried(arithmetics: Callable[..., None]) -> None:
    arithmetics(own={"": "fp32", "bf16": "bf16"})
    assert find_sides(Path("own"), [], ["bf16"], backend=None).tried == ("bf16",)
    assert find_sides(Path("own"), [], ["fp32"], backend=None).tried == ("fp32",)


def test_another_bundle_is_called_by_its_folder(arithmetics: Callable[..., None]) -> None:
    arithmetics(own={"": "fp32"}, small={"": "int8+fp32", "bf16": "int8+bf16"})
    found = find_sides(Path("own"), [Path("small")], [], backend=None)
    assert [side.label for side in found.sides] == ["fp32", "small: int8+fp32", "small: int8+bf16"]
    assert [side.own for side in found.sides] == [True, False, False]


def test_arithmetics_that_compute_alike_are_told_apart(arithmetics: Callable[..., None]) -> None:
    arithmetics(own={"": "int8/fp32", "bf16": "int8/fp32"})
    labels = [side.label for side in find_sides(Path("own"), [], [], backend=None).sides]
    assert labels == ["int8/fp32 (as built)", "int8/fp32 (bf16)"]


def test_progress_lies_apart_for_each_bundle(
    make_null_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    one, other = (
        open_progress(read_manifest(make_null_bundle(name, side=side)), tmp_path, keep=True).folder
        for name, side in (("one", 32), ("other", 64))
    )
    assert one is not None and other is not None and one != other
    assert one.parent == tmp_path / "progress"


def test_progress_can_be_left_out(null_bundle: Path, tmp_path: Path) -> None:
    assert open_progress(read_manifest(null_bundle), tmp_path, keep=False).folder is None


def test_the_report_s_files_are_named_once() -> None:
    assert len(set(work.TUNING_FILES)) == 3

"""A target file is read whole, or refused by file and key."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.targets.errors import TargetError, UnknownNameError
from echoexport.targets.spec import (
    TARGET_VARIANTS,
    find_target,
    list_targets,
    load_target,
    read_target,
)

DATA = Path(__file__).parents[2] / "targets" / "data"


ORIN = yaml.safe_load((DATA / "jetson-orin.yaml").read_text())


@pytest.fixture
def content() -> dict[str, Any]:
    return copy.deepcopy(ORIN)


def write(folder: Path, content: object) -> Path:
    """The content as JSON, which is YAML too and quicker to write."""
    path = folder / "mine.yaml"
    path.write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"))
    return path


def leaves(content: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of every key in a parsed target file."""
    listed: Any = content
    pairs = listed.items() if isinstance(listed, dict) else enumerate(listed)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict) or (
            isinstance(value, list) and value and isinstance(value[0], dict)
        ):
            yield from leaves(value, (*path, key))


# All keys, but the inner ones of one figure and one TensorRT line only: the others are
# read by the same code.
KEYS = [
    path
    for path in leaves(ORIN)
    if isinstance(path[-1], str) and (len(path) < 3 or path[1] in ("memory", 0, "steps"))
]


def parent_of(content: Any, path: tuple[str | int, ...]) -> Any:
    for key in path[:-1]:
        content = content[key]
    return content


def dotted(path: tuple[str | int, ...]) -> str:
    return re.sub(r"\.\[", "[", ".".join(f"[{p}]" if isinstance(p, int) else p for p in path))


def test_an_unknown_target_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"'jetson-oren'.*rtx-4090.*Did you mean 'jetson-orin'"
    ):
        load_target("jetson-oren")


def test_a_target_name_is_not_a_path() -> None:
    with pytest.raises(UnknownNameError):
        load_target("../data/cpu")


@pytest.mark.parametrize("name", list_targets())
def test_a_target_has_steps_for_every_variant_or_leaves_them_to_it(name: str) -> None:
    build = load_target(name).build
    assert tuple(build.steps) == TARGET_VARIANTS
    assert [build.steps_for(variant) for variant in TARGET_VARIANTS] == list(build.steps.values())


def test_a_target_is_found_by_its_name_or_in_a_file_of_ones_own(
    content: dict[str, Any], tmp_path: Path
) -> None:
    assert find_target("jetson-orin") == load_target("jetson-orin")
    content["name"] = "my-board"
    assert find_target(str(write(tmp_path, content))).name == "my-board"
    with pytest.raises(UnknownNameError, match="unknown target 'my-board'"):
        find_target("my-board")


def test_steps_for_an_unknown_variant_lists_the_variants() -> None:
    with pytest.raises(UnknownNameError, match="pose_acc"):
        load_target("cpu").build.steps_for("pose-acc")


def test_a_users_own_file_is_read_like_a_shipped_one(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["name"] = "my-board"
    target = read_target(write(tmp_path, content))
    assert dataclasses.replace(target, name="jetson-orin") == load_target("jetson-orin")


def test_a_target_can_be_hashed_and_compared() -> None:
    assert len({load_target("a100"), load_target("a100"), load_target("h100")}) == 2


@pytest.mark.parametrize("path", KEYS, ids=dotted)
def test_a_missing_key_is_refused_with_file_and_key(
    path: tuple[str | int, ...], content: dict[str, Any], tmp_path: Path
) -> None:
    del parent_of(content, path)[path[-1]]
    with pytest.raises(TargetError, match=rf"mine\.yaml: {re.escape(dotted(path))} is missing"):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize("path", sorted({path[:-1] for path in KEYS}, key=str), ids=dotted)
def test_an_unknown_key_in_any_mapping_is_refused_with_file_and_key(
    path: tuple[str | int, ...], content: dict[str, Any], tmp_path: Path
) -> None:
    unknown = (*path, "colour")
    parent_of(content, unknown)["colour"] = "blue"
    with pytest.raises(
        TargetError, match=rf"mine\.yaml: {re.escape(dotted(unknown))} is an unknown key"
    ):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize("path", KEYS, ids=dotted)
def test_a_value_of_the_wrong_type_is_refused_with_file_and_key(
    path: tuple[str | int, ...], content: dict[str, Any], tmp_path: Path
) -> None:
    parent_of(content, path)[path[-1]] = [{"wrong": -1}]
    with pytest.raises(
        TargetError, match=rf"mine\.yaml: {re.escape(dotted(path))}(\[0\]\.system)? "
    ):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("build", "size"), [256, 250]),
        (("build", "size"), [256]),
        (("build", "frames"), 33),
        (("build", "frames"), True),
        (("build", "precision"), "int8"),
        (("build", "steps", "acc"), 0),
        (("backends", "portable"), []),
        (("backends", "default"), "tensorflow"),
        (("hardware", "memory", "value"), "64"),
        (("hardware", "memory", "value"), 0),
        (("hardware", "memory", "value"), float("nan")),
        (("hardware", "memory", "value"), float("inf")),
        (("hardware", "memory", "unit"), "GiB"),
        (("hardware", "memory", "source"), ""),
        (("hardware", "power", "value"), [60, 15]),
        (("hardware", "compute_capability", "value"), 8.7),
        (("engine", "workspace", "value"), -1),
        (("engine", "workspace", "unit"), "GiB"),
        (("engine", "level", "value"), 6),
        (("engine", "best_of", "value"), 0),
        (("engine", "best_of", "source"), ""),
        (("next_step",), ""),
        (("next_step",), "two\nlines"),
        (("name",), "My Board"),
        (("kind",), "cpu"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_key(
    path: tuple[str, ...], value: object, content: dict[str, Any], tmp_path: Path
) -> None:
    parent_of(content, path)[path[-1]] = value
    named = ("next_step",) if path == ("kind",) else path
    with pytest.raises(TargetError, match=re.escape(dotted(named))):
        read_target(write(tmp_path, content))


def test_a_null_figure_without_a_reason_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["hardware"]["int8_dense"] = {"value": None, "unit": "TOPS", "source": "a data sheet"}
    with pytest.raises(TargetError, match=r"hardware\.int8_dense\.reason is missing"):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_a_cpu_cannot_default_to_tensorrt(
    backend: str, content: dict[str, Any], tmp_path: Path
) -> None:
    content.update(kind="cpu", next_step="")
    content["backends"]["default"] = backend
    with pytest.raises(TargetError, match=rf"backends\.default {backend} needs"):
        read_target(write(tmp_path, content))


def test_a_cpu_has_nothing_to_say_about_engines(content: dict[str, Any], tmp_path: Path) -> None:
    content.update(kind="cpu", next_step="")
    content["backends"]["default"] = "ort"
    with pytest.raises(TargetError, match=r"mine\.yaml: engine needs kind jetson or gpu"):
        read_target(write(tmp_path, content))


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"nowhere\.yaml: cannot be read: No such file"):
        read_target(tmp_path / "nowhere.yaml")


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(KEYS),
)
def test_whatever_stands_at_a_key_the_answer_is_a_target_or_a_target_error(
    value: object, path: tuple[str | int, ...]
) -> None:
    content = copy.deepcopy(ORIN)
    parent_of(content, path)[path[-1]] = value
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = read_target(write(Path(folder), content))
    except TargetError as error:
        assert "mine.yaml" in str(error)
    else:
        assert target.kind == "jetson" or path == ("kind",)

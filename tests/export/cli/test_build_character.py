"""``echoexport build`` of the character that is built in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.build.description import describe_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.demo.assets import builtin_checkpoint
from echoexport.export.sizes import size_networks
from echoexport.targets.spec import load_target

pytest.importorskip("torch")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("nowhere")
def test_without_any_checkpoint_the_demo_character_is_built_at_its_own_size(
    command: Callable[..., Any], asked: dict[str, Any]
) -> None:
    outcome = command("build", "-t", "jetson-orin", "-o", "bundle")
    assert outcome.code == 0, outcome
    assert load_target("jetson-orin").build.size != (128, 128)
    assert (asked["checkpoint"], asked["settings"].size) == (builtin_checkpoint(), (128, 128))
    assert (asked["settings"].variant, asked["settings"].frames) == ("acc", None)
    assert outcome.err.splitlines() == [
        "no checkpoint named and no pretrained_weights/ here: using the built-in demo character"
    ]


def test_the_demo_character_can_be_named_like_any_checkpoint(
    command: Callable[..., Any], asked: dict[str, Any]
) -> None:
    outcome = command("build", builtin_checkpoint(), "-t", "cpu", "-o", "bundle", "--size", 128)
    assert (outcome.code, outcome.err) == (0, "")
    assert asked["settings"].size == (128, 128)


@pytest.mark.usefixtures("nowhere")
def test_the_demo_character_at_another_size_is_built_with_a_warning(
    command: Callable[..., Any], asked: dict[str, Any]
) -> None:
    outcome = command("build", "-t", "cpu", "-o", "bundle", "--size", "256x256")
    assert (outcome.code, asked["settings"].size) == (0, (256, 256))
    assert (
        "warning: the built-in demo character was trained at 128x128 px"
        in outcome.err.splitlines()[-1]
    )


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        ("pose_acc", "variant 'pose_acc': the built-in demo character comes as acc only"),
        ("acx", "unknown variant 'acx'; known: acc, base, pose, pose_acc. Did you mean 'acc'?"),
    ],
)
def test_the_demo_character_has_one_variant(
    command: Callable[..., Any], nowhere: Path, variant: str, wanted: str
) -> None:
    outcome = command("build", "-t", "cpu", "-o", "bundle", "--variant", variant)
    assert outcome.code == 1
    assert [wanted in line for line in outcome.err.splitlines()] == [False, True]
    assert list(nowhere.iterdir()) == []


def test_the_demo_characters_bundle_says_where_it_comes_from() -> None:
    opened = open_checkpoint(builtin_checkpoint(), "acc")
    settings = BuildSettings(size=(128, 128), frames=12, precision="fp32")
    a = opened.architecture
    sizes = size_networks(a, size=(128, 128), frames=12, face="mask")
    made = describe_bundle(
        opened, sizes, {}, target=load_target("cpu"), settings=settings
    ).provenance
    assert made.checkpoint == "echoexport-demo-character"
    assert made.notes == ("the demo character that is built into echoexport: drawn faces only",)


def test_other_weights_win_over_the_demo_character(
    command: Callable[..., Any], asked: dict[str, Any], nowhere: Path
) -> None:
    (nowhere / "pretrained_weights").mkdir()
    outcome = command("build", "-t", "cpu", "-o", "bundle")
    assert (outcome.code, outcome.err) == (0, "")
    assert (asked["checkpoint"], asked["settings"].size) == (Path("pretrained_weights"), None)

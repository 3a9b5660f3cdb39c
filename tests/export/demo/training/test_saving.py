"""What training keeps: each file whole or not at all, a damaged one named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
from echoexport.export.demo.training.saving import (
    drop_parts,
    load_state,
    make_in_parts,
    read_saved,
    save_atomically,
)
from echoexport.runtime.errors import CheckpointError, OutputError

MakeControl = Callable[..., TrainingControl]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_state_that_cannot_be_saved_leaves_the_old_one_and_nothing_beside_it(
    tmp_path: Path,
) -> None:
    save_atomically({"step": 1}, tmp_path / "state.pt")
    with pytest.raises(Exception, match="pickle"):
        save_atomically({"step": lambda: 2}, tmp_path / "state.pt")
    assert read_saved(tmp_path / "state.pt")["step"] == 1
    assert names_in(tmp_path) == ["state.pt"]


def test_a_state_and_its_folder_appear_together(tmp_path: Path) -> None:
    save_atomically({"step": 1}, tmp_path / "new" / "state.pt")
    assert names_in(tmp_path / "new") == ["state.pt"]


def test_a_place_that_is_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "state.pt").mkdir()
    with pytest.raises(OutputError, match=r"state\.pt: cannot be written"):
        save_atomically({"step": 1}, tmp_path / "state.pt")
    assert names_in(tmp_path) == ["state.pt"]


def test_what_is_saved_reads_back_the_same(tmp_path: Path) -> None:
    save_atomically({"step": 3, "value": torch.arange(4.0)}, tmp_path / "state.pt")
    state = read_saved(tmp_path / "state.pt")
    assert state["step"] == 3
    assert state["value"].tolist() == [0, 1, 2, 3]


def test_a_state_is_read_without_running_what_is_in_it(tmp_path: Path) -> None:
    torch.save({"path": Path("/")}, tmp_path / "state.pt")  # a class that a pickle would make
    with pytest.raises(CheckpointError, match=r"state\.pt: damaged"):
        read_saved(tmp_path / "state.pt")


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path) -> None:
    save_atomically({"model": nn.Linear(2, 3).state_dict()}, tmp_path / "line.pt")
    with pytest.raises(CheckpointError, match=r"line\.pt: the weights of other networks"):
        load_state(nn.Linear(3, 2), tmp_path / "line.pt")


def make_squares(made: list[slice]) -> Callable[[slice], dict[str, Tensor]]:
    def make(part: slice) -> dict[str, Tensor]:
        made.append(part)
        return {"squares": torch.arange(part.start, part.stop) ** 2}

    return make


def test_parts_are_joined_in_order_and_the_last_may_be_shorter(make_control: MakeControl) -> None:
    made: list[slice] = []
    joined = make_in_parts(
        "squares", make_squares(made), count=7, part=3, keep=False, control=make_control()
    )
    assert joined["squares"].tolist() == [0, 1, 4, 9, 16, 25, 36]
    assert made == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert names_in(make_control().folder) == []


def test_parts_that_are_kept_are_not_made_again_until_they_are_dropped(
    make_control: MakeControl,
) -> None:
    control = make_control()
    made: list[slice] = []

    def join() -> list[int]:
        given = {"count": 5, "part": 2, "keep": True, "control": control}
        joined = make_in_parts("squares", make_squares(made), **given)  # type: ignore[arg-type]
        return [int(value) for value in joined["squares"]]

    assert join() == join() == [0, 1, 4, 9, 16]
    assert len(made) == 3
    assert names_in(control.folder / "squares.parts") == [
        "00000000.pt",
        "00000002.pt",
        "00000004.pt",
    ]
    drop_parts("squares", control)
    assert names_in(control.folder) == []
    join()
    assert len(made) == 6


def test_a_run_that_is_over_makes_no_further_part(make_control: MakeControl) -> None:
    control = make_control()

    def make(part: slice) -> dict[str, Tensor]:
        control.stop = True
        return {"ones": torch.ones(part.stop - part.start)}

    with pytest.raises(StopTrainingError, match="ones: stopped at 4 of 9"):
        make_in_parts("ones", make, count=9, part=4, keep=True, control=control)
    assert names_in(control.folder / "ones.parts") == ["00000000.pt"]

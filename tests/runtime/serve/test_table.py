"""Places are held while sessions open, and come back however these end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.served import Served

from echoexport.runtime.errors import BackendError, CapacityError
from echoexport.runtime.live.opening import FaceChoice
from echoexport.runtime.serve.refusals import RefusedError


def test_of_many_who_come_at_once_no_more_are_let_in_than_may(
    serve: Callable[..., Served],
) -> None:
    served = serve(sessions=2)
    outcomes: list[str] = []

    def come() -> None:
        try:
            served.table.open("me", None)
            outcomes.append("in")
        except CapacityError:
            outcomes.append("refused")

    comers = [threading.Thread(target=come) for _ in range(6)]
    for comer in comers:
        comer.start()
    for comer in comers:
        comer.join()
    assert sorted(outcomes) == ["in", "in", *["refused"] * 4]
    assert len(served.table) == 2


def test_a_session_that_did_not_begin_counts_no_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BackendError("broken")

    with monkeypatch.context() as patched:
        patched.setattr("echoexport.runtime.serve.table.open_live", fail)
        with pytest.raises(BackendError):
            served.table.open("me", None)
    with pytest.raises(RefusedError, match="no such portrait"):
        served.table.open("me", "nobody")
    assert len(served.table) == 0
    served.table.open("me", None)
    assert len(served.table) == 1


def test_a_box_is_for_the_servers_own_portraits_alone(
    served: Served, portrait_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[FaceChoice | None] = []

    def note(*_: object, face: FaceChoice | None, **__: object) -> None:
        given.append(face)
        raise BackendError("no more than this is looked at")

    monkeypatch.setattr(served.table, "_face", FaceChoice(box=(1, 2, 3, 4)))
    monkeypatch.setattr("echoexport.runtime.serve.table.open_live", note)
    content = portrait_file.read_bytes()
    uploaded = served.request("POST", "/v1/portraits", content=content).json()["portrait"]
    owner = served.table.shelf._uploads[uploaded].owner
    for portrait, name in ((None, "me"), (uploaded, owner)):
        with pytest.raises(BackendError):
            served.table.open(name, portrait)
    assert given == [FaceChoice(box=(1, 2, 3, 4)), FaceChoice()]


def test_a_session_that_fails_is_told_and_counts_no_more(served: Served) -> None:
    session = served.table.open("me", None)
    session._talk.fail(BackendError("the engine is broken"))
    until = time.monotonic() + 10
    while not session.over and time.monotonic() < until:
        time.sleep(0.02)
    assert len(served.table) == 0
    assert any(line.get("reason") == "the engine is broken" for line in served.log)


def test_many_sessions_one_after_another_leave_no_thread(served: Served) -> None:
    before = threading.active_count()
    for _ in range(5):
        served.table.open("me", None).close("enough")
    assert threading.active_count() <= before


def test_sessions_are_found_by_their_owner_alone(served: Served) -> None:
    mine = served.table.open("me", None)
    assert served.table.find(mine.identity.name, "me") is mine
    assert len(mine.identity.name) >= 32
    with pytest.raises(RefusedError, match="no such session"):
        served.table.find(mine.identity.name, "another")
    assert served.table.list_own("another") == []

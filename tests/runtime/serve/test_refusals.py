"""Errors have one status code each, and a defect tells a client nothing."""

from __future__ import annotations

import pytest

from echoexport.runtime.errors import (
    AudioError,
    BackendError,
    CapacityError,
    DeviceError,
    EchoExportError,
    MissingPackageError,
    OutputError,
    PortraitError,
    SettingError,
    UnknownNameError,
)
from echoexport.runtime.serve.refusals import RefusedError, explain_error, refuse


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CapacityError("full"), 429),
        (AudioError("no sound"), 400),
        (PortraitError("no face"), 400),
        (SettingError("no"), 400),
        (UnknownNameError("network", "x", known=["y"]), 404),
        (MissingPackageError("av", extra="serve", purpose="it"), 501),
        (BackendError("broken"), 503),
        (DeviceError("gone"), 503),
        (OutputError("no"), 400),
        (EchoExportError("something"), 400),
        (RefusedError(refuse(413, "too much")), 413),
        (RuntimeError("/a/path and more"), 500),
    ],
)
def test_each_kind_of_error_has_its_code(error: Exception, status: int) -> None:
    assert explain_error(error).status == status


def test_no_room_says_when_to_come_again() -> None:
    refusal = explain_error(CapacityError("one\n  line"))
    assert refusal.headers == {"retry-after": "5"}
    assert refusal.describe() == {
        "type": "capacity",
        "status": 429,
        "message": "one line",
        "retry_after": 5,
    }


def test_a_defect_shows_nothing_of_itself() -> None:
    assert "/a/path" not in str(explain_error(RuntimeError("/a/path")).describe())


def test_who_has_no_token_is_told_how_to_send_one() -> None:
    assert refuse(401, "a token").headers == {"www-authenticate": "Bearer"}

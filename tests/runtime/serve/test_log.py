"""The log is one JSON object a line, and nobody's failure to read it stops the server."""

from __future__ import annotations

import io
import json

from echoexport.runtime.serve.log import ServeLog, shorten


def test_each_event_is_one_line_of_json() -> None:
    written = io.StringIO()
    log = ServeLog(written)
    log.tell("began", session="abc", sessions=2)
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        log.fail("failed", error)
    first, second = map(json.loads, written.getvalue().splitlines())
    assert (first["event"], first["session"], first["sessions"]) == ("began", "abc", 2)
    assert first["time"].endswith("Z")
    assert "ValueError" in second["trace"]


def test_a_log_that_is_closed_is_borne() -> None:
    written = io.StringIO()
    written.close()
    ServeLog(written).tell("nobody reads this")
    assert written.closed


def test_a_session_is_named_by_its_begin_alone() -> None:
    assert shorten("0123456789abcdef") == "01234567"

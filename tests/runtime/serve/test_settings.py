"""Settings that are not safe or cannot work are refused before anything listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.errors import SettingError
from echoexport.runtime.serve.settings import (
    ServeSettings,
    check_serve_settings,
    is_loopback,
    read_tokens,
)

TOKEN = "0123456789abcdef"


def test_only_this_machine_reaches_it_where_nothing_is_said() -> None:
    check_serve_settings(ServeSettings())
    assert is_loopback(ServeSettings().host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "kiosk.example", ""])
def test_any_other_address_wants_a_token(host: str) -> None:
    with pytest.raises(SettingError, match="--token-file"):
        check_serve_settings(ServeSettings(host=host))
    check_serve_settings(ServeSettings(host=host, tokens=(TOKEN,)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": 65536}, "port 65536"),
        ({"port": -1}, "port -1"),
        ({"certificate": Path("a.pem")}, "go together"),
        ({"key": Path("a.pem")}, "go together"),
        ({"sessions": 0}, "sessions 0"),
    ],
)
def test_what_cannot_work_is_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        check_serve_settings(ServeSettings(**settings))


def test_tokens_stand_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of the kiosk\n{TOKEN}\n\n  {TOKEN[::-1]}  \n")
    assert read_tokens(file) == (TOKEN, TOKEN[::-1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no token"),
        (b"# nothing else\n", "holds no token"),
        (b"short\n", "token 1 is too short"),
        (b"0123456789abcdef 0123\n", "odd letters"),
        ("tokenähnliches-ding-hier".encode(), "odd letters"),
        (b"\xff\xfe\x00", "no UTF-8"),
    ],
)
def test_a_token_file_that_cannot_be_used_is_refused_without_telling_a_token(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(content)
    with pytest.raises(SettingError, match=words) as told:
        read_tokens(file)
    assert "0123456789" not in str(told.value)


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="nothing-here"):
        read_tokens(tmp_path / "nothing-here")

"""What the port answers: the page, life and figures; strangers and errors with one line."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fixtures.live_stage import make_voice
from fixtures.served import TOKEN, Served, take_event

from echoexport.runtime.serve.app import PAGE, PAGE_FILES


@pytest.fixture
def guarded(serve: Callable[..., Served]) -> Served:
    return serve(tokens=(TOKEN,))


def test_life_and_readiness_are_told_to_everybody(serve: Callable[..., Served]) -> None:
    served = serve(warm=False, tokens=(TOKEN,))
    assert served.request("GET", "/healthz").status_code == 200
    assert served.request("GET", "/readyz").status_code == 503
    early = served.request("POST", "/v1/sessions", token=TOKEN)
    assert early.status_code == 503
    assert "warms up" in early.json()["error"]["message"]
    served.server.warm_up()
    assert served.request("GET", "/readyz").status_code == 200


def test_figures_are_counted(served: Served) -> None:
    session = served.request("POST", "/v1/sessions").json()["id"]
    text = served.request("GET", "/metrics").text
    assert "echoexport_sessions 1.0" in text
    assert "echoexport_sessions_opened_total 1.0" in text
    assert float(re.findall(r"\nechoexport_resident_bytes (\S+)", text)[0]) > 1e6
    served.request("DELETE", f"/v1/sessions/{session}")
    assert "echoexport_sessions 0.0" in served.request("GET", "/metrics").text


def test_each_engine_call_is_counted_with_its_time(served: Served) -> None:
    with served.connect() as socket:
        take_event(socket, "session.created")
        socket.send((make_voice(1) * 32767).astype("<i2").tobytes())
        take_event(socket, "output_video.speaking")
        text = served.request("GET", "/metrics").text
    for network in ("denoising_unet", "vae_decoder", "reference_unet"):
        name = f'echoexport_engine_call_seconds_count{{network="{network}"}}'
        assert float(text.partition(name)[2].split()[0]) >= 1
    for name in ("queue_age_seconds", "ladder_rung", "frame_interval_seconds_count"):
        assert f"\nechoexport_{name} " in text


@pytest.mark.parametrize("path", ["/", "/metrics", "/v1/sessions", "/page/kiosk.mjs", "/nothing"])
def test_a_stranger_gets_one_line_and_how_to_come_in(guarded: Served, path: str) -> None:
    answer = guarded.request("GET", path, token="not-the-token-of-it")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "token" in answer.json()["error"]["message"]


def test_the_page_changes_the_token_of_its_address_for_a_cookie(guarded: Served) -> None:
    page = guarded.request("GET", f"/?token={TOKEN}")
    assert page.status_code == 200
    cookie = page.headers["set-cookie"].partition(";")[0]
    script = guarded.request("GET", "/page/kiosk.mjs", headers={"cookie": cookie})
    assert script.headers["content-type"].startswith("text/javascript")
    assert TOKEN not in guarded.written.getvalue()
    refused = guarded.request("GET", f"/v1/portraits?token={TOKEN}")
    assert refused.status_code == 401


def test_every_answer_has_headers_that_let_no_foreign_script_in(served: Served) -> None:
    for path in ("/", "/healthz", "/v1/nothing"):
        headers = served.request("GET", path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_pages_from_elsewhere_and_foreign_names_are_turned_away(served: Served) -> None:
    foreign = {"origin": "https://elsewhere.example"}
    assert served.request("POST", "/v1/sessions", headers=foreign).status_code == 403
    assert served.request("GET", "/", headers={"host": "elsewhere.example"}).status_code == 403
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="403"), served.connect(origin=foreign["origin"]):
        pass


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/sessions", 405),
        ("GET", "/page/../app.py", 404),
        ("GET", "/page/..%2fapp.py", 404),
        ("GET", "/page/%2e%2e/settings.py", 404),
        ("DELETE", "/v1/sessions/nobody", 404),
    ],
)
def test_what_is_not_there_is_told_as_json(
    served: Served, verb: str, path: str, status: int
) -> None:
    answer = served.request(verb, path)
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == status


def test_a_defect_is_written_down_and_not_shown(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(owner: str) -> list[str]:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(served.table, "list_own", break_down)
    answer = served.request("GET", "/v1/sessions")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert any("a secret path" in line.get("trace", "") for line in served.log)


def test_the_page_is_all_there_and_holds_no_script_of_its_own() -> None:
    assert {file.name for file in PAGE.iterdir()} == set(PAGE_FILES)
    page = (PAGE / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"\son\w+=|\sstyle=", page) == []
    for name in PAGE_FILES:
        # But for the name of SVG itself, which nothing fetches.
        text = (PAGE / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text

"""The page in a real Chromium: it plays, is spoken to, and comes back when the server does."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fixtures.browser import wait_for, wait_for_video
from fixtures.served import TOKEN, Served


def test_it_plays_by_itself_and_the_token_leaves_the_address(
    serve: Callable[..., Served], page: Any
) -> None:
    served = serve(tokens=(TOKEN,))
    page.goto(f"{served.url}/?token={TOKEN}")
    wait_for_video(page)
    assert TOKEN not in page.url
    assert page.evaluate("face.videoWidth") == 32
    assert page.locator("#panel").is_hidden()
    assert page.said == []
    page.reload()
    wait_for_video(page)


def test_the_panel_speaks_a_voice_file_and_shows_figures(
    served: Served, page: Any, make_voice: Callable[..., Path]
) -> None:
    page.goto(f"{served.url}/?panel")
    wait_for_video(page)
    page.set_input_files("#voice", make_voice(seconds=3))
    wait_for(page, "document.getElementById('first').textContent.includes(' ms')")
    wait_for(page, "document.getElementById('state').textContent === 'idle'")
    assert page.inner_text("#told") == ""
    width = page.evaluate("document.getElementById('panel').getBoundingClientRect().right")
    assert width <= 390
    page.keyboard.press("p")
    page.locator("#panel").wait_for(state="hidden")


def test_a_cancel_shows_the_face_at_rest_until_it_is_and_seeks_nothing(
    served: Served, page: Any, make_voice: Callable[..., Path]
) -> None:
    page.goto(f"{served.url}/?panel")
    wait_for_video(page)
    page.evaluate(
        """() => {
            window.seeks = 0;
            window.quiet = false;
            face.addEventListener("seeking", () => seeks++);
            face.addEventListener("volumechange", () => { quiet = quiet || face.volume === 0; });
        }"""
    )
    page.set_input_files("#voice", make_voice(seconds=8))
    wait_for(page, "document.getElementById('state').textContent === 'speaking'")
    page.click("#stop")
    wait_for(page, "document.body.classList.contains('resting')")
    wait_for(page, "!document.body.classList.contains('resting') && quiet && face.volume === 1")
    assert page.evaluate("seeks") == 0
    wait_for_video(page)


def test_a_cancel_at_rest_covers_the_living_face_for_no_longer_than_it_lags(
    served: Served, page: Any, make_voice: Callable[..., Path]
) -> None:
    page.goto(f"{served.url}/?panel")
    wait_for_video(page)
    page.set_input_files("#voice", make_voice(seconds=1))
    wait_for(page, "document.getElementById('state').textContent === 'speaking'")
    wait_for(page, "document.getElementById('state').textContent === 'idle'")
    wait_for_video(page)
    page.evaluate(
        """() => {
            window.covered = [];
            new MutationObserver(() => covered.push([
                document.body.classList.contains("resting"), performance.now(),
            ])).observe(document.body, { attributes: true, attributeFilter: ["class"] });
        }"""
    )
    page.keyboard.press("Escape")
    wait_for(page, "covered.length >= 2 && !covered.at(-1)[0]")
    (begun, ended) = page.evaluate("[covered[0][1], covered.at(-1)[1]]")
    assert ended - begun < 2500  # what cannot be seen to end ends after 3 s


def test_an_upload_is_shown_and_one_that_is_no_picture_is_told(
    served: Served, page: Any, portrait_file: Path, tmp_path: Path
) -> None:
    page.goto(f"{served.url}/?panel")
    wait_for_video(page)
    page.set_input_files("#upload", portrait_file)
    wait_for(page, "document.getElementById('portraits').options.length === 2")
    (tmp_path / "words.png").write_text("no picture")
    page.set_input_files("#upload", tmp_path / "words.png")
    wait_for(page, "document.getElementById('told').textContent.includes('JPEG')")


def test_the_last_picture_stays_and_the_page_comes_back_with_the_server(
    serve: Callable[..., Served], page: Any
) -> None:
    with ExitStack() as stack:
        first = serve()
        port = int(first.url.rpartition(":")[2])
        page.goto(first.url)
        wait_for_video(page)
        first.server.__exit__()
        wait_for(page, "document.body.classList.contains('lost')")
        assert page.locator("#last").is_visible()
        assert page.locator("#notice").inner_text().startswith("Connecting again")
        stack.callback(serve(port=port).table.stop)
        wait_for(page, "!document.body.classList.contains('lost')")
        wait_for_video(page)
        assert page.locator("#notice").is_hidden()


def test_the_page_comes_back_by_itself_after_its_server_was_killed(
    start_command: Callable[..., Any], page: Any, null_bundle: Path, portrait_file: Path
) -> None:
    for package in ("starlette", "uvicorn", "websockets", "prometheus_client"):
        pytest.importorskip(package)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])

    def start() -> Any:
        words = ("serve", null_bundle, "-p", portrait_file, "--port", port)
        running = start_command(*words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert running.stdout.readline().startswith(b"ready")
        return running

    running = start()
    try:
        page.goto(f"http://127.0.0.1:{port}/")
        wait_for_video(page)
        running.kill()
        running.wait()
        wait_for(page, "document.body.classList.contains('lost')")
        running.stdout.close()
        running = start()
        begun = time.monotonic()
        wait_for(page, "!document.body.classList.contains('lost')")
        assert time.monotonic() - begun < 10
        wait_for_video(page)
    finally:
        running.kill()
        running.wait()
        running.stdout.close()

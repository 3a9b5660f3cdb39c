"""The example of the docs: a chat model of a stub, a real face, a real conversation."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fixtures.served import TOKEN, Served, take_event

SCRIPT = Path(__file__).parents[3] / "docs" / "examples" / "chat.py"
DELTA = "response.output_audio_transcript.delta"


class Model:
    """Streams an answer piece by piece; after each sentence but the first it waits to be let on."""

    def __init__(self) -> None:
        self.answers = ["Good morning to you. I am glad to see you here.", "Yes, of course I do."]
        self.asked: list[dict[str, Any]] = []
        self.go_on = threading.Event()

    def write(self, body: dict[str, Any]) -> Iterator[str]:
        self.asked.append(body)
        for number, word in enumerate(self.answers[len(self.asked) - 1].split(" ")):
            if number == 5:
                assert self.go_on.wait(30)
            yield f" {word}" if number else word


@contextmanager
def serve_model(model: Model) -> Iterator[str]:
    """An endpoint of the OpenAI chat interface, as local model servers have it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self._tell({"choices": [{"delta": {"role": "assistant", "content": None}}]})
            for piece in model.write(body):
                self._tell({"choices": [{"delta": {"content": piece}}]})
            self._tell({"choices": [], "usage": {}})
            self.wfile.write(b"data: [DONE]\n\n")

        def _tell(self, chunk: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            model.go_on.set()
            server.shutdown()
            serving.join()


@pytest.fixture
def talk(
    serve: Callable[..., Served], make_program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Model], Any]]:
    """A function that starts the example against a model: its process, and a watching socket."""
    served = serve(voice=make_program(), tokens=(TOKEN,))
    monkeypatch.setenv("ECHOEXPORT_TOKEN", TOKEN)
    with ExitStack() as stack:

        def begin(chat: str) -> tuple[Any, Any]:
            words = (sys.executable, str(SCRIPT), "--chat", chat, "--face", served.url)
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
            running = stack.enter_context(subprocess.Popen(words, text=True, bufsize=1, **pipes))
            stack.callback(running.kill)
            session = running.stderr.readline().partition("session=")[2].strip()
            watching = served.connect(f"?video=0&session={session}", token=TOKEN)
            return running, stack.enter_context(watching)

        yield begin


def test_the_first_sentence_is_spoken_while_the_model_still_writes(talk: Any) -> None:
    model = Model()
    with serve_model(model) as chat:
        running, socket = talk(chat)
        running.stdin.write("Hello!\n")
        assert take_event(socket, DELTA)["delta"] == "Good morning to you."
        assert not model.go_on.is_set()
        model.go_on.set()
        assert take_event(socket, DELTA)["delta"] == "I am glad to see you here."
        running.stdin.close()
        assert running.wait(timeout=20) == 0
    assert model.asked[0]["stream"] is True
    assert model.asked[0]["messages"][-1] == {"role": "user", "content": "Hello!"}


def test_who_writes_while_it_speaks_interrupts_it(talk: Any) -> None:
    model = Model()
    with serve_model(model) as chat:
        running, socket = talk(chat)
        running.stdin.write("Hello!\n")
        take_event(socket, DELTA)
        running.stdin.write("Do you hear me?\n")
        take_event(socket, "output_video.interrupted")
        model.go_on.set()
        assert take_event(socket, DELTA)["delta"] == "Yes, of course I do."
    told = [message["content"] for message in model.asked[1]["messages"]]
    assert told[1:] == ["Hello!", "Good morning to you.", "Do you hear me?"]


def test_it_is_short_enough_to_be_read_at_once() -> None:
    assert len(SCRIPT.read_text("utf-8").splitlines()) <= 60

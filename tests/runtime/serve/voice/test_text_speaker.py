"""Texts are spoken in their order, captions come with their sound, and an interrupt ends all."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.errors import CapacityError
from echoexport.runtime.live.frames import IDLE, SPEAKING, LiveFrame
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.refusals import RefusedError
from echoexport.runtime.serve.voice.command import VoiceCommand
from echoexport.runtime.serve.voice.text_speaker import TextSpeaker

FRAME = 640
PICTURE = np.zeros((2, 2, 3), np.uint8)
SLOW = "head()\nfor _ in range(100):\n    noise(0.2)\n    time.sleep(0.05)"


class FakeSession:
    """Holds what was pushed and gives it back as frames, as a live session at 16 kHz would."""

    def __init__(self) -> None:
        self.epoch = 0
        self.waiting: list[tuple[int, bool]] = []  # samples, and whether they end one
        self.open = 0
        self.index = 0

    @property
    def pending(self) -> float:
        return (sum(count for count, _ in self.waiting) + self.open) / 16_000

    def push(self, pcm: bytes, sample_rate: int) -> None:
        assert sample_rate == 16_000
        self.open += len(pcm) // 2

    def flush(self) -> None:
        if self.open:
            self.waiting.append((self.open, True))
            self.open = 0

    def interrupt(self) -> None:
        self.epoch += 1
        self.waiting.clear()
        self.open = 0

    def give(self) -> LiveFrame:
        """The next frame: of what was flushed, or of rest."""
        count, last = self.waiting.pop(0) if self.waiting else (0, False)
        left = count - FRAME
        if left > 0:
            self.waiting.insert(0, (left, last))
        self.index += 1
        return LiveFrame(
            PICTURE,
            np.ones(FRAME if count else 0, np.float32),
            16_000,
            self.index,
            Fraction(self.index, 25),
            self.epoch,
            SPEAKING if count else IDLE,
            end_of_utterance=bool(count) and left <= 0,
        )


class Scene:
    """A speaker of a fake session, what it told everybody and what it wrote down."""

    def __init__(self, voice: VoiceCommand | None) -> None:
        self.session = FakeSession()
        self.told: list[dict[str, Any]] = []
        self.written = io.StringIO()
        self.heard = 0
        self.speaker = TextSpeaker(
            self.session, voice, heard=self._hear, tell=self.told.append, log=ServeLog(self.written)
        )

    def _hear(self) -> None:
        self.heard += 1

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.told]

    @property
    def captions(self) -> list[str]:
        return [event["delta"] for event in self.told if event["type"].endswith(".delta")]

    @property
    def ends(self) -> list[str]:
        done = [event for event in self.told if event["type"] == "response.done"]
        return [event["response"]["status"] for event in done]

    def play(self, *, until: Callable[[], object], pace: float = 0.0005) -> None:
        """Frames until something is so."""
        patience = time.monotonic() + 20
        while not until():
            assert time.monotonic() < patience, self.told
            self.told += self.speaker.look_at(self.session.give())
            time.sleep(pace)


@pytest.fixture
def stage(make_program: Callable[..., VoiceCommand]) -> Iterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def begin(*body: str, **more: Any) -> Scene:
        scenes.append(Scene(make_program(*body, **more)))
        return scenes[-1]

    yield begin
    for scene in scenes:
        scene.speaker.close()


def test_a_text_is_told_from_its_beginning_to_its_end(stage: Callable[..., Scene]) -> None:
    scene = stage()
    name = scene.speaker.say("Good morning, all. How are you today?")
    scene.play(until=lambda: scene.ends)
    assert scene.captions == ["Good morning, all.", " How are you today?"]
    assert scene.kinds[0] == "response.created"
    assert scene.kinds[-2:] == ["response.output_audio_transcript.done", "response.done"]
    assert scene.told[-2]["transcript"] == "Good morning, all. How are you today?"
    assert {event.get("response_id", name) for event in scene.told} == {name}
    assert scene.ends == ["completed"]
    assert scene.heard > 0


def test_a_caption_comes_with_the_frame_whose_sound_it_is(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.speaker.say("Good morning, all. How are you today?")
    while scene.speaker._thread is not None:
        time.sleep(0.01)
    scene.play(until=lambda: scene.ends)
    first, second = (event["time"] for event in scene.told if event["type"].endswith(".delta"))
    # 40 ms a letter: as many frames as letters.
    assert round((second - first) * 25) == len("Good morning, all.")
    assert round((scene.told[-2]["time"] - second) * 25) == len("How are you today?")


def test_what_the_client_says_itself_moves_no_caption(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.speaker.push(bytes(2 * FRAME * 30), 16_000)
    scene.speaker.say("Good morning, all.")
    while scene.speaker._thread is not None:
        time.sleep(0.01)
    scene.play(until=lambda: scene.captions)
    assert scene.told[-1]["time"] == pytest.approx(31 / 25)


def test_an_interrupt_ends_every_text_and_the_program_at_once(stage: Callable[..., Scene]) -> None:
    scene = stage(SLOW)
    scene.speaker.say("Good morning, all. And more.")
    scene.speaker.say("And another one.")
    while not scene.session.pending:
        time.sleep(0.01)
    begun = time.monotonic()
    scene.speaker.interrupt()
    assert time.monotonic() - begun < 0.1
    assert scene.ends == ["cancelled", "cancelled"]
    thread = scene.speaker._thread
    if thread is not None:
        thread.join(timeout=2)
    assert scene.speaker._thread is None
    assert scene.session.pending == 0
    scene.play(until=lambda: scene.session.index > 5)
    assert scene.captions == []


def test_a_text_after_an_interrupt_is_spoken(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.speaker.say("Good morning, all.")
    scene.speaker.interrupt()
    scene.speaker.say("Never mind then.")
    scene.play(until=lambda: len(scene.ends) == 2)
    assert scene.ends == ["cancelled", "completed"]
    assert scene.captions == ["Never mind then."]


def test_no_more_than_a_few_seconds_are_made_ahead(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.speaker.say(" ".join(["This is one of many sentences."] * 20))
    time.sleep(1.5)
    assert 0 < scene.session.pending < 7
    assert scene.speaker._thread is not None


def test_a_voice_that_fails_is_told_and_the_next_text_is_tried(
    stage: Callable[..., Scene],
) -> None:
    scene = stage("if 'bad' in text: sys.exit('the model is broken: ' + text)\nhead()\nnoise(0.5)")
    scene.speaker.say("This one is bad.")
    scene.speaker.say("This one is good.")
    scene.play(until=lambda: len(scene.ends) == 2)
    assert scene.ends == ["failed", "completed"]
    (error,) = (event["error"] for event in scene.told if event["type"] == "error")
    assert error["type"] == "voice_failed"
    assert "broken" not in error["message"]
    assert "the model is broken" in scene.written.getvalue()


def test_sentences_before_one_that_fails_are_heard(stage: Callable[..., Scene]) -> None:
    scene = stage("if 'bad' in text: sys.exit(1)\nhead()\nnoise(0.5)")
    scene.speaker.say("This one is good. This one is bad.")
    scene.play(until=lambda: scene.ends)
    assert scene.captions == ["This one is good."]
    assert scene.ends == ["failed"]


def test_drafts_are_said_together(stage: Callable[..., Scene]) -> None:
    scene = stage()
    scene.speaker.draft("Good morning, all.")
    scene.speaker.draft("How are you today?")
    scene.speaker.say_drafts()
    with pytest.raises(RefusedError, match="nothing to say"):
        scene.speaker.say_drafts()
    scene.play(until=lambda: scene.ends)
    assert len(scene.captions) == 2


@pytest.mark.parametrize(
    ("text", "status"), [("", 400), (" \n ", 400), ("...!", 400), ("a" * 101, 413)]
)
def test_what_cannot_be_said_is_refused(
    stage: Callable[..., Scene], text: str, status: int
) -> None:
    scene = stage(most_text=100)
    with pytest.raises(RefusedError) as refused:
        scene.speaker.say(text)
    assert refused.value.refusal.status == status
    assert scene.told == []


def test_more_than_may_wait_is_refused_with_come_again(stage: Callable[..., Scene]) -> None:
    scene = stage(SLOW, most_text=100)
    for _ in range(4):
        scene.speaker.say("a" * 100)
    with pytest.raises(CapacityError, match="400 letters of text wait"):
        scene.speaker.say("a")


def test_without_a_voice_the_reason_is_told() -> None:
    scene = Scene(None)
    for ask in (scene.speaker.say, scene.speaker.draft):
        with pytest.raises(RefusedError, match="--tts") as refused:
            ask("Hello.")
        assert refused.value.refusal.status == 501
    assert scene.speaker.voice is None


def test_closing_ends_the_thread_and_nothing_more_is_taken(stage: Callable[..., Scene]) -> None:
    scene = stage(SLOW)
    scene.speaker.say("Good morning, all.")
    while not scene.session.pending:
        time.sleep(0.01)
    scene.speaker.close()
    assert "echoexport-speaker" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RefusedError, match="no such session"):
        scene.speaker.say("Hello.")

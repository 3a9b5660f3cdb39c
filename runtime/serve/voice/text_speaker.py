"""One session's voice: texts in, their sound pushed sentence by sentence, captions out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Protocol

from echoexport.runtime.errors import CapacityError, EchoExportError
from echoexport.runtime.live.frames import LiveFrame
from echoexport.runtime.serve.broadcast.viewers import ServeEvent
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.refusals import Refusal, RefusedError, refuse
from echoexport.runtime.serve.voice.command import VoiceCommand
from echoexport.runtime.serve.voice.responses import ResponseStatus, SpokenText
from echoexport.runtime.serve.voice.sentences import clean_text, cut_sentences
from echoexport.runtime.serve.voice.utterances import UtteranceCount

_AHEAD = 4.0  # seconds of sound that wait before the next sentence is made
_LOOK = 0.1
_WAITING = 4  # times the longest text may wait
_PATIENCE = 5.0


class Spoken(Protocol):
    """What a speaker needs of a live session."""

    @property
    def pending(self) -> float:
        """Seconds of sound that wait."""

    def push(self, pcm: bytes, sample_rate: int) -> None:
        """Say this."""

    def flush(self) -> None:
        """The utterance ends here."""

    def interrupt(self) -> None:
        """Stop speaking."""


class TextSpeaker:
    """All sound of a session goes through here, so that captions know their place.

    Any thread may call. Each sentence is an utterance of its own: its end is told by
    the frame that shows it.
    """

    def __init__(
        self,
        session: Spoken,
        voice: VoiceCommand | None,
        *,
        heard: Callable[[], None],
        tell: Callable[[ServeEvent], None],
        log: ServeLog,
    ) -> None:
        """``heard`` is called after each push, ``tell`` with what every client is to know."""
        self._session = session
        self._voice = voice
        self._note = heard
        self._tell = tell
        self._log = log
        self._count = UtteranceCount()
        self._drafts: list[str] = []
        self._waiting: deque[SpokenText] = deque()
        self._captions: deque[tuple[int, SpokenText, str]] = deque()
        self._unfinished: deque[tuple[int, SpokenText, ResponseStatus]] = deque()
        self._turn = 0
        self._place = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._changed = threading.Condition(threading.RLock())

    @property
    def voice(self) -> str | None:
        """The name of what speaks texts; None where nothing does."""
        return None if self._voice is None else self._voice.name

    def push(self, pcm: bytes, sample_rate: int) -> None:
        """Sound of the client's own. Raises as :meth:`LiveSession.push` does."""
        with self._changed:
            self._session.push(pcm, sample_rate)
            if pcm:
                self._count.push()
        self._note()

    def flush(self) -> None:
        """Its end."""
        with self._changed:
            self._session.flush()
            self._count.flush()

    def say(self, text: str) -> str:
        """Speak a text after whatever waits; the id of its response.

        Raises:
            RefusedError: no voice, nothing to say, too long, or a session that is over.
            CapacityError: so much waits already that it must come again later.
        """
        voice = self._require_voice()
        response = _read_text(text, most=voice.most_text)
        with self._changed:
            if self._closed:
                raise RefusedError(refuse(404, "no such session"))
            waiting = sum(len(one.text) for one in self._waiting)
            if waiting + len(text) > _WAITING * voice.most_text:
                raise CapacityError(f"{waiting} letters of text wait to be said; come again later")
            self._waiting.append(response)
            self._tell(response.tell("in_progress"))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="echoexport-speaker", daemon=True
                )
                self._thread.start()
        return response.name

    def draft(self, text: str) -> None:
        """Keep a text for :meth:`say_drafts`. Raises as :meth:`say` does."""
        most = self._require_voice().most_text
        with self._changed:
            _read_text("\n".join([*self._drafts, text]), most=most)
            self._drafts.append(text)

    def say_drafts(self) -> str:
        """Speak what was kept. Raises as :meth:`say` does."""
        self._require_voice()
        with self._changed:
            name = self.say("\n".join(self._drafts))
            self._drafts.clear()
        return name

    def interrupt(self) -> None:
        """Stop speaking, and forget every text. Raises as :meth:`LiveSession.interrupt` does."""
        with self._changed:
            self._session.interrupt()
            self._forget()

    def look_at(self, frame: LiveFrame) -> list[ServeEvent]:
        """What is to be told with this frame: captions whose sound begins, texts that are over."""
        place = float(frame.timestamp)
        end = place + float(frame.samples.size / frame.sample_rate)
        told = []
        with self._changed:
            self._place = place
            shown = self._count.look_at(frame, pending=self._session.pending)
            begun = max(shown.begins or 0, shown.ended)
            while self._captions and self._captions[0][0] <= begun:
                _, response, sentence = self._captions.popleft()
                told.append(response.tell_sentence(sentence, place))
            while self._unfinished and self._unfinished[0][0] <= shown.ended:
                _, response, status = self._unfinished.popleft()
                told += [response.tell_end(end), response.tell(status)]
        return told

    def close(self) -> None:
        """Speak no more; what speaks is ended."""
        with self._changed:
            self._closed = True
            self._forget()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=_PATIENCE)

    def _require_voice(self) -> VoiceCommand:
        if self._voice is None:
            told = "the server has no voice: --tts names one, and the extra 'voice' brings one"
            raise RefusedError(Refusal(501, "no_voice", told))
        return self._voice

    def _forget(self) -> None:
        """All texts end here, in the order in which they came."""
        self._turn += 1
        self._count.interrupt()
        left = [response for _, response, _ in self._unfinished]
        left += [one for _, one, _ in self._captions if one not in left]
        left += [one for one in self._waiting if one not in left]
        for pending in (self._captions, self._unfinished, self._waiting):
            pending.clear()
        for response in left:
            if response.heard:
                self._tell(response.tell_end(self._place))
            self._tell(response.tell("cancelled"))
        self._changed.notify_all()

    def _work(self) -> None:
        """In a thread of its own, for as long as there is something to say."""
        while True:
            with self._changed:
                if not self._waiting or self._closed:
                    self._thread = None
                    return
                response = self._waiting[0]
                turn = self._turn
            try:
                self._speak(response, turn)
                self._finish(response, turn, "completed")
            except EchoExportError as error:
                self._fail(response, turn, error)
            except Exception as error:
                self._log.fail("a text could not be said", error)
                self._fail(response, turn, error)

    def _speak(self, response: SpokenText, turn: int) -> None:
        for sentence in response.sentences:
            if self._wait_for_room(turn):
                self._speak_sentence(response, sentence, turn)

    def _speak_sentence(self, response: SpokenText, sentence: str, turn: int) -> None:
        assert self._voice is not None
        begun = False
        pieces = self._voice.say(sentence, goes_on=lambda: self._turn == turn)
        with closing(pieces):
            for pcm, rate in pieces:
                self._wait_for_room(turn)
                with self._changed:
                    if self._turn != turn:
                        return
                    if not begun:
                        self.flush()  # what anybody else has said is another utterance
                    self.push(pcm, rate)
                    if not begun:
                        response.last = self._count.begun
                        self._captions.append((response.last, response, sentence))
                    begun = True
        with self._changed:
            if self._turn == turn:
                self.flush()

    def _wait_for_room(self, turn: int) -> bool:
        """Whether to go on, once little enough waits to be spoken."""
        with self._changed:
            while self._turn == turn and self._session.pending > _AHEAD:
                self._changed.wait(_LOOK)
            return self._turn == turn

    def _finish(self, response: SpokenText, turn: int, status: ResponseStatus) -> None:
        """It is over once what was pushed of it has been shown."""
        with self._changed:
            if self._turn == turn:
                self._waiting.popleft()
                self._unfinished.append((response.last, response, status))

    def _fail(self, response: SpokenText, turn: int, error: Exception) -> None:
        """Tell who listens; what waits behind it is tried all the same."""
        self._log.tell("a text could not be said", reason=str(error))
        told = f"the voice {self.voice} failed; the server's log says how"
        with self._changed:
            if self._turn == turn:
                refusal = Refusal(503, "voice_failed", told)
                self._tell({"type": "error", "error": refusal.describe()})
                self._flush_quietly()
        self._finish(response, turn, "failed")

    def _flush_quietly(self) -> None:
        """What was pushed of a sentence that broke off ends here."""
        with suppress(EchoExportError):  # the session may be over
            self.flush()


def _read_text(text: str, *, most: int) -> SpokenText:
    """Raises RefusedError: nothing to say, or too much."""
    if len(text) > most:
        raise RefusedError(refuse(413, f"{len(text)} letters; at most {most} are taken at once"))
    if not any(letter.isalnum() for letter in text):
        raise RefusedError(refuse(400, "there is nothing to say in this text"))
    return SpokenText(text, cut_sentences(clean_text(text)))

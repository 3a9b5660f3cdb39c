"""A program that speaks: text on its stdin, a WAV on its stdout, in a group of its own."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from echoexport.runtime.errors import AudioError, BackendError, SettingError
from echoexport.runtime.serve.voice.wave_stream import WaveReader

_PIECE = 1 << 15  # bytes that are read at once
_LOOK = 0.05  # seconds between two looks whether to go on
_LAST_WORDS = 4096  # bytes of what it says on stderr
_END = 2.0  # seconds for it to end once its sound is over


@dataclass(frozen=True)
class VoiceCommand:
    """A voice: what is started for each sentence."""

    words: tuple[str, ...]
    """The program and its arguments; no shell sees them, and no text is among them."""
    name: str
    """How clients are told of it."""
    patience: float = 15.0
    """Seconds without a sound after which it is given up."""
    most_seconds: float = 60.0
    """Of sound for one sentence."""
    most_text: int = 4096
    """Letters of one text."""

    def say(
        self, sentence: str, *, goes_on: Callable[[], bool]
    ) -> Generator[tuple[bytes, int], None, None]:
        """Pieces of sound as they are made: signed 16-bit PCM of one channel, and its rate.

        Ends early once ``goes_on`` is false. However it ends, the program is gone with
        all that it started.

        Raises:
            BackendError: it cannot be started, fails, says nothing, writes no WAV, or
                takes too long.
        """
        try:
            running = subprocess.Popen(
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendError(f"{self.name}: {error.strerror or error}") from error
        utterance = _Utterance(self, running, goes_on)
        try:
            utterance.tell(sentence)
            yield from utterance.listen()
        finally:
            utterance.kill()

    def try_out(self) -> None:
        """Say a word to nobody.

        Raises:
            As :meth:`say` does.
        """
        for _ in self.say("Hello.", goes_on=lambda: True):
            pass


def parse_voice(command: str) -> VoiceCommand:
    """A voice as a user writes it, quoted as for a shell.

    Raises:
        SettingError: nothing, or a quotation that does not end.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise SettingError(f"tts command {command!r}: {error}") from error
    if not words:
        raise SettingError(
            "tts command: empty; a program that reads text and writes a WAV, or none"
        )
    return VoiceCommand(words, name=Path(words[0]).name)


class _Utterance:
    """One run of a program."""

    def __init__(
        self, voice: VoiceCommand, running: subprocess.Popen[bytes], goes_on: Callable[[], bool]
    ) -> None:
        self._voice = voice
        self._running = running
        self._goes_on = goes_on
        self._wave = WaveReader()
        self._said = b""
        self._taken = 0  # bytes of sound
        self._heard = monotonic()

    def tell(self, sentence: str) -> None:
        """Give it the text, which is shorter than what a pipe holds."""
        assert self._running.stdin is not None
        with suppress(BrokenPipeError):  # it may have ended; its exit status says more
            self._running.stdin.write(sentence.encode("utf-8", "replace") + b"\n")
            self._running.stdin.close()

    def listen(self) -> Iterator[tuple[bytes, int]]:
        """Its sound."""
        try:
            for data in self._read():
                sound = self._wave.read(data)
                if sound:
                    self._taken += len(sound)
                    yield sound, self._wave.rate
                    self._heard = monotonic()  # the time that the sound took is not its
            if self._goes_on():
                self._wave.end()
                self._look_at_end()
        except AudioError as error:
            self._look_at_status()
            raise BackendError(f"{self._name}: wrote {error}; a WAV is wanted") from error

    def kill(self) -> None:
        """It and all that it started, however far they are."""
        if self._running.returncode is not None:
            return
        # Its number is its own for as long as nobody has asked how it ended.
        with suppress(ProcessLookupError):
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()
        for pipe in (self._running.stdin, self._running.stdout, self._running.stderr):
            _close(pipe)

    def _read(self) -> Iterator[bytes]:
        """What it writes to stdout, until it closes that, or nobody wants it any more."""
        assert self._running.stdout is not None and self._running.stderr is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._running.stdout, selectors.EVENT_READ)
            waiting.register(self._running.stderr, selectors.EVENT_READ)
            while self._running.stdout in waiting.get_map() and self._goes_on():
                for key, _ in waiting.select(_LOOK):
                    data = os.read(key.fd, _PIECE)
                    if not data:
                        waiting.unregister(key.fileobj)
                    elif key.fileobj is self._running.stderr:
                        self._said = (self._said + data)[-_LAST_WORDS:]
                    else:
                        yield data
                self._look_at_bounds()

    def _look_at_bounds(self) -> None:
        if monotonic() - self._heard > self._voice.patience:
            raise BackendError(f"{self._name}: no sound for {self._voice.patience:g} s")
        if self._taken > 2 * max(1, self._wave.rate) * self._voice.most_seconds:
            raise BackendError(
                f"{self._name}: more than {self._voice.most_seconds:g} s of sound for one sentence"
            )

    def _look_at_end(self) -> None:
        self._look_at_status()
        if not self._taken:
            raise BackendError(f"{self._name}: no sound")

    def _look_at_status(self) -> None:
        """Whether it ended well, once its stdout is closed."""
        until = monotonic() + _END
        while not _has_ended(self._running.pid) and monotonic() < until:
            sleep(_LOOK / 5)
        if not _has_ended(self._running.pid):
            return
        # The group goes before its leader's number is given free.
        self.kill()
        status = self._running.returncode
        if status != 0:
            lines = self._said.decode("utf-8", "replace").strip().splitlines()
            last = f": {lines[-1][:200]}" if lines else ""
            told = f"signal {-status}" if status < 0 else f"exit code {status}"
            raise BackendError(f"{self._name}: ended with {told}{last}")

    @property
    def _name(self) -> str:
        return self._voice.name


def _has_ended(process: int) -> bool:
    """Whether a child is over, its number still its own."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with suppress(BrokenPipeError):
            pipe.close()

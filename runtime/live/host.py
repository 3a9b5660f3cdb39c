"""What all live sessions of one bundle share: engines, workers, costs, and who is let in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.drives import open_drive
from echoexport.runtime.conditioning.reference import find_reference
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.contract.live_networks import (
    LIVE_AUDIO,
    describe_clips_audio,
    find_live_audio,
)
from echoexport.runtime.decoding.pixels import to_pixels
from echoexport.runtime.engine.freed_memory import give_memory_back
from echoexport.runtime.errors import CapacityError, DeviceError
from echoexport.runtime.live.drawing.causal_sampling import (
    BlockOrder,
    CachedFeatures,
    CausalSampler,
    RenoisedWindows,
    Sitter,
)
from echoexport.runtime.live.drawing.idle_loop import IdleLoop, IdleOrder, draw_idle
from echoexport.runtime.live.listening.hearing import HEARD_COLUMNS
from echoexport.runtime.live.listening.mel_columns import QUIET
from echoexport.runtime.live.listening.speech_tokens import SpeechTokens
from echoexport.runtime.live.phrase import encode_phrase
from echoexport.runtime.live.scheduling.clock import LiveClock
from echoexport.runtime.live.scheduling.costs import Costs
from echoexport.runtime.live.scheduling.workers import SPARE, Workers
from echoexport.runtime.live.settings import CACHED, DENOISERS, FAST, LiveNumbers
from echoexport.runtime.trace.tracer import NULL, Tracer

_FULL = 0.75  # of the workers' time: sessions that took 79 % were late now and then (measured)
_FEWEST = 2  # steps
# In mode "cached", where nobody says: with more steps the clip that loses most loses more than
# 0.06 of r, and nothing is gained (measured, see docs/live.md).
_MOST_CACHED = 2
_BUSY = 0.6  # of a worker's time, that one session may take by itself
_MEASURED = 5  # blocks
_PORTRAITS = 8  # whose loops are kept

_AFTER_PHRASE = 10
_SHUT_AFTER_PHRASE = 9  # the first frame after a word still shuts the mouth

DECODE = "decode"


@dataclass(frozen=True)
class LivePicture:
    """A portrait at the bundle's size, and what drives its face."""

    picture: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    mask: NDArray[np.uint8] | None = None
    """(H, W) uint8, for bundles whose drive is a mask."""
    poses: Sequence[NDArray[np.float32]] | Any = None
    """(3, H, W) float32 maps in [0, 1], played forwards and backwards; any sequence will do."""


@dataclass(frozen=True)
class LivePortrait:
    """A portrait that is ready to talk."""

    sitter: Sitter
    """As the denoiser sees it."""
    idle: IdleLoop
    """As it is seen while nobody speaks."""


def name_drawing(mode: str, steps: int) -> str:
    """The kind of work that a block of so many steps is in a mode of ``settings.MODES``."""
    return f"draw {steps} {mode}"


class Guest(Protocol):
    """A session, as its host sees it."""

    @property
    def busy(self) -> bool:
        """Whether it is spoken to just now; asked without any lock of the session's."""
        ...

    def close(self) -> None:
        """End it."""
        ...

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        ...


class LiveHost:
    """The engines of one bundle, opened for as many calls at once as there are workers."""

    def __init__(self, bundle: Bundle, *, workers: Workers, clock: LiveClock) -> None:
        self.bundle = bundle
        self.workers = workers
        self.clock = clock
        self.costs = Costs()
        self._networks: dict[str, Network] = {}
        self._shared = set[str]()  # what sessions have called for, whether it is open now or not
        self._tokens: SpeechTokens | None = None
        self._portraits: OrderedDict[tuple[object, ...], LivePortrait] = OrderedDict()
        self._held: dict[Guest, float] = {}
        self.closed = False
        self.at_offline = False
        """Whether somebody renders offline beside the sessions."""
        self.tracer: Tracer = NULL
        """Is told of each call, of networks that are opened from then on."""
        self._lock = threading.RLock()
        # An engine is compiled under a lock of its own: workers wait for the other one.
        self._opening = threading.RLock()
        workers.find_room = self.count_spare

    def network(self, name: str) -> Network:
        """A network of the bundle with a lane for each worker, opened on first use.

        Raises:
            As :meth:`Bundle.network` does.
        """
        with self._opening:
            self._shared.add(name)
            network = self._networks.get(name)
            if network is None:
                network = self._networks[name] = self.open_lanes(name)
            return network

    def open_lanes(self, name: str) -> Network:
        """A network with a lane for each worker, which the caller closes.

        Raises:
            As :meth:`Bundle.network` does.
        """
        return self.bundle.open_lanes(name, self.workers.count).lend(self.tracer)

    def is_shared(self, name: str) -> bool:
        """Whether a network is among those that stay open here, if :meth:`network` opened it.

        So it is where it failed and is to be opened anew.
        """
        return name in self._shared

    def open_tokens(self) -> SpeechTokens:
        """The encoder of what is heard."""
        with self._opening:
            tokens = self._tokens
            if tokens is None:
                manifest = self.bundle.manifest
                live = find_live_audio(manifest)
                network = self.network("audio_encoder" if live is None else LIVE_AUDIO)
                tokens = SpeechTokens(network, live or describe_clips_audio(manifest))
                self._tokens = tokens
            return tokens

    def open_sampler(self, numbers: LiveNumbers) -> CausalSampler:
        """A sampler as these numbers want it; it holds no state."""
        kind = CachedFeatures if numbers.mode == CACHED else RenoisedWindows
        return kind(
            self.network(DENOISERS[numbers.mode]),
            self.bundle.manifest,
            seed=numbers.seed,
            guidance=numbers.guidance,
        )

    def decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """One frame's picture, (H, W, 3) uint8 RGB, of its latents (1, 4, h, w)."""
        return to_pixels(self.network("vae_decoder")({"latents": latents})["picture"])

    def prepare(
        self, portrait: LivePicture, numbers: LiveNumbers, *, cache: ReferenceCache | None
    ) -> LivePortrait:
        """A portrait's reference and idle loop; the latest few are kept.

        Raises:
            PortraitError, SettingError, PoseError: it is not what the bundle wants.
            BackendError: an engine failed.
        """
        key = _describe_portrait(portrait, numbers)
        with self._lock:
            known = self._portraits.get(key)
        if known is None:
            known = self._prepare(portrait, numbers, cache=cache)
        with self._lock:
            self._portraits[key] = known
            self._portraits.move_to_end(key)
            while len(self._portraits) > _PORTRAITS:
                self._portraits.popitem(last=False)
        # A page of a face that is gone would else lie among those of the next ones.
        give_memory_back()
        return known

    def measure(self, numbers: LiveNumbers) -> None:
        """Draw a few blocks of nothing, so that it is known what one costs.

        Raises:
            BackendError: an engine failed.
        """
        kind = name_drawing(numbers.mode, numbers.steps)
        if self.costs.typical(kind):
            return
        tokens = self.open_tokens()
        silence = tokens.silence(numbers.hearing.mels)
        columns = np.full((numbers.hearing.mels, HEARD_COLUMNS), QUIET, np.float32)
        sampler = self.open_sampler(numbers)
        sitter = self._make_blank_sitter(numbers)
        state = sampler.begin(BlockOrder(sitter, (silence,) * sampler.window, 1))
        order = BlockOrder(sitter, (silence,) * numbers.block, numbers.steps)
        for _ in range(_MEASURED):
            begun = self.clock.now()
            for _ in range(numbers.block):
                tokens.encode(columns)
            state = sampler.draw(state, order)
            drawn = self.clock.now()
            self.decode(state.past[-1].latents)
            self.costs.tell(kind, drawn - begun)
            self.costs.tell(DECODE, self.clock.now() - drawn)

    def choose_steps(self, numbers: LiveNumbers) -> LiveNumbers:
        """As many steps as one worker keeps up with, up to those of ``numbers``, *measured*.

        By the quickest of what was measured, as the machine may have been busy; no fewer
        than two, below which it is for the ladder to go; in mode "cached" no more either.

        Raises:
            BackendError: an engine failed.
        """
        self.measure(numbers)
        step = self.costs.least(name_drawing(numbers.mode, numbers.steps)) / numbers.steps
        pictures = numbers.block * self.costs.least(DECODE)
        free = _BUSY * float(numbers.block / numbers.fps) - pictures
        most = min(numbers.steps, _MOST_CACHED) if numbers.mode == CACHED else numbers.steps
        steps = int(min(most, max(_FEWEST, free / step))) if step else most
        chosen = replace(numbers, steps=steps)
        self.measure(chosen)
        return chosen

    def _make_blank_sitter(self, numbers: LiveNumbers) -> Sitter:
        """Nobody's face: what a call costs does not depend on it."""
        network = self.network(DENOISERS[numbers.mode])
        empty = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in network.spec.inputs}
        reference = {name: array for name, array in empty.items() if name.startswith("reference_")}
        del reference["reference_gate"]
        feature = empty["face_feature"]
        return Sitter(reference, lambda numbers: feature)

    def admit(self, session: Guest, numbers: LiveNumbers) -> None:
        """Let a session in, as long as the workers can draw for it too.

        One in pace "fast" is always let in: it takes what others leave.

        Raises:
            CapacityError: they cannot; says what they could.
        """
        share = 0.0 if numbers.pace == FAST else self.measure_share(numbers)
        with self._lock:
            taken = sum(self._held.values())
            if taken and share and taken + share > _FULL:
                raise CapacityError(
                    f"{self._count_paced()} live sessions take {taken:.0%} of this machine's "
                    f"{self.workers.count} workers; one more would take {share:.0%} and "
                    f"{_FULL:.0%} may be taken. End one, or ask for fewer steps"
                )
            self._held[session] = share

    def leave(self, session: Guest) -> None:
        """A session is over."""
        with self._lock:
            self._held.pop(session, None)

    def measure_share(self, numbers: LiveNumbers) -> float:
        """The share of the workers' time that a session which always speaks takes, *measured*."""
        block = self.costs.typical(name_drawing(numbers.mode, numbers.steps))
        frame = self.costs.typical(DECODE)
        seconds = block / numbers.block + frame
        return seconds * float(numbers.fps) / self.workers.count

    def count_capacity(self, numbers: LiveNumbers) -> int:
        """How many sessions with these numbers would be let in, by what they have cost."""
        share = self.measure_share(numbers)
        return max(1, int(_FULL / share)) if share else 0

    def count_before(self) -> float:
        """Blocks of other sessions that each worker may have to draw before one's own."""
        with self._lock:
            return max(0, self._count_paced() - 1) / self.workers.count

    def count_spare(self) -> int:
        """Workers that offline work may take now.

        Those that are more than the open sessions, each of which has one to itself; at
        least one while nobody speaks.
        """
        with self._lock:
            paced = [session for session, share in self._held.items() if share > 0]
        least = 0 if any(session.busy for session in paced) else 1
        return max(self.workers.count - len(paced), least)

    def expect_spare(self) -> float:
        """Seconds for which a session without a worker to itself may wait for offline work."""
        with self._lock:
            crowded = self._count_paced() >= self.workers.count
        return self.costs.under_way(SPARE) if crowded and self.at_offline else 0.0

    def _count_paced(self) -> int:
        return sum(share > 0 for share in self._held.values())

    def load(self) -> float:
        """The share of the workers' time that all sessions take with all their steps, 1 is all."""
        with self._lock:
            return sum(self._held.values())

    def warm_up(self, numbers: LiveNumbers) -> None:
        """Open the networks that sessions with these numbers call, several at once.

        Raises:
            As :meth:`network` does.
        """
        self.open_tokens()
        self.open_sampler(numbers)
        self.network("vae_decoder")

    def note_failure(self, error: BaseException) -> None:
        """An engine failed: sessions to come open theirs anew, those there are go on.

        Where the device itself is gone, all of them end.
        """
        # New ones in place of cleared ones, without waiting for one that is being opened.
        self._networks, self._tokens = {}, None
        with self._lock:
            sessions = list(self._held) if isinstance(error, DeviceError) else []
            self.closed = self.closed or bool(sessions)
        for session in sessions:
            session.fail(error)

    def give_up(self, error: BaseException) -> None:
        """A call will never return: its worker is lost, and another takes its place."""
        self.note_failure(error)
        self.workers.replace()

    def close(self) -> None:
        """End the sessions, then the workers, then the engines."""
        with self._lock:
            self.closed = True
            sessions = list(self._held)
        for session in sessions:
            session.close()
        self.workers.close()
        with self._opening:
            for network in self._networks.values():
                network.close()
            self._networks, self._tokens = {}, None
        with self._lock:
            self._portraits.clear()

    def _prepare(
        self, portrait: LivePicture, numbers: LiveNumbers, *, cache: ReferenceCache | None
    ) -> LivePortrait:
        with self.bundle.lease(tracer=self.tracer, frugal=True) as networks:
            drive = open_drive(networks, mask=portrait.mask, poses=portrait.poses, cache=cache)
            reference = find_reference(networks, portrait.picture, cache=cache)
            sitter = Sitter(reference, drive.loop())
        tokens = self.open_tokens()
        order = IdleOrder(
            sitter,
            silence=tokens.silence(numbers.hearing.mels),
            spoken=tuple(encode_phrase(tokens, numbers.hearing, after=_AFTER_PHRASE)),
            shut=_SHUT_AFTER_PHRASE,
            frames=numbers.idle_frames,
            block=numbers.block,
            steps=numbers.steps,
        )
        idle = draw_idle(self.open_sampler(numbers), order, decode=self.decode)
        return LivePortrait(sitter, idle)


def _describe_portrait(portrait: LivePicture, numbers: LiveNumbers) -> tuple[object, ...]:
    mask = None if portrait.mask is None else portrait.mask.tobytes()
    poses = None if portrait.poses is None else id(portrait.poses)
    drawn = (
        numbers.mode,
        numbers.steps,
        numbers.block,
        numbers.seed,
        numbers.guidance,
        numbers.fps,
    )
    return (portrait.picture.tobytes(), mask, poses, numbers.idle_frames, *drawn)

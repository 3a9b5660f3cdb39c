"""Making a session's frames ahead of their time: cues become blocks, blocks become pictures.

All methods are called with the session's condition held; only the jobs are not.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.decoding.pixels import fade, hold_still
from echoexport.runtime.live.drawing.causal_sampling import BlockCancelledError, BlockOrder
from echoexport.runtime.live.drawing.stream_state import StreamState
from echoexport.runtime.live.frames import EASING, IDLE
from echoexport.runtime.live.host import DECODE, LiveHost, LivePortrait, name_drawing
from echoexport.runtime.live.scheduling.ladder import Ladder, list_rungs
from echoexport.runtime.live.script import Cue, CueFrame, Script
from echoexport.runtime.live.settings import FAST, LiveNumbers
from echoexport.runtime.live.slots import Slot, enter_states
from echoexport.runtime.live.statistics import LiveStatistics

_FADE = 0.12  # seconds in which an interrupted face fades into the idle loop
NO_SOUND = np.zeros(0, np.float32)


@dataclass(frozen=True)
class _Block:
    """Slots that are drawn together, and what they are drawn from."""

    slots: list[Slot]
    every: int
    """Only each so-manieth is drawn."""
    state: StreamState
    portrait: LivePortrait
    due: float
    """When the first is shown."""


class Production:
    """The queue of one session: what is planned, drawn, decoded and not yet given."""

    def __init__(
        self,
        host: LiveHost,
        portrait: LivePortrait,
        numbers: LiveNumbers,
        *,
        statistics: LiveStatistics,
        changed: threading.Condition,
    ) -> None:
        self.script = Script(numbers.hearing)
        self.ladder = Ladder(list_rungs(numbers.steps), fixed=numbers.deterministic)
        self.slots = deque[Slot]()
        self.shown: Slot | None = None
        """The last that was given."""
        self.drawing = False
        """Whether a block is being drawn."""
        self.epoch = 0
        self.find_due: Callable[[int], float] = lambda place: host.clock.now()
        """When the slot at a place of the queue is shown, as far as one can tell."""
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self._host = host
        self._numbers = numbers
        self._statistics = statistics
        self._changed = changed
        self._sampler = host.open_sampler(numbers)
        self._tokens = host.open_tokens()
        self._portrait = portrait
        self._next_portrait: LivePortrait | None = None
        self._place = 0  # in the idle loop, of the next frame that is planned
        self._state = self._rest_state()
        self._planned: Slot | None = None  # the last, until it is given
        self._to_decode = deque[list[Slot]]()
        self._decoding = False
        self._handed_in: dict[int, tuple[str, float]] = {}  # what workers are at, since when

    @property
    def resting(self) -> bool:
        """Whether what is shown is of the idle loop."""
        return self.shown is None or self.shown.resting

    @property
    def busy(self) -> bool:
        """Whether anything is drawn, or was and is still shown."""
        return self.drawing or self._decoding or not self.resting

    @property
    def over(self) -> bool:
        """Whether nothing is left to be given but idle frames."""
        script = self.script
        busy = self.drawing or self.slots or script.speaking or script.owes_end
        return not busy and script.ended and not script.pending

    def plan(self) -> None:
        """Take cues for as long as there is room, up to the next block that is drawn."""
        while not self.drawing and len(self.slots) < self._numbers.ahead_frames:
            self._change_portrait()
            block = self._numbers.block * self.ladder.rung.every
            cue = self.script.next(block)
            if cue is None and self._must_ease():
                cue = self.script.ease(block)
            if cue is None:
                return
            if cue.drawn:
                self._draw(cue)
            else:
                self._add(self.make_idle(cue.frames[0]))

    def make_idle(self, cue: CueFrame | None = None) -> Slot:
        """The next frame of the idle loop; without a cue, one that nobody sent sound for."""
        picture = self._portrait.idle.at(self._place).picture
        place = self._place
        state = self._find_idle_state(place)
        self._place += 1
        self._state = state
        wanted = cue or CueFrame(NO_SOUND, IDLE, None, end_of_utterance=self.script.take_owed_end())
        now = self._host.clock.now()
        return Slot(wanted, self.epoch, 0, state=state, picture=picture, ready=now, place=place)

    def find_hung(self, now: float, *, patience: float) -> str | None:
        """What was handed in more than ``patience`` seconds ago and is not done, if anything."""
        old = [work for work, since in self._handed_in.values() if now - since > patience]
        return old[0] if old else None

    def expect_wait(self) -> float:
        """Seconds for which the workers may be at other sessions' blocks, or offline work."""
        frames = self._numbers.block * self._host.costs.typical(DECODE)
        blocks = self._host.count_before() * (self._host.costs.typical(self._kind) + frames)
        return blocks + self._host.expect_spare()

    def take(self) -> Slot:
        """The first of the queue."""
        slot = self.slots.popleft()
        if self._planned is slot:
            self._planned = None
        return slot

    def skip(self, count: int) -> None:
        """Leave out the sound of the first ``count`` of the queue, all of which rests.

        Their pictures stay, and the last ones are shown later: the loop does not jump.
        """
        heard = list(self.slots)[count:]
        shown = list(self.slots)[: len(heard)]
        self.slots = deque(
            replace(slot, cue=later.cue) for slot, later in zip(shown, heard, strict=True)
        )
        self._planned = self.slots[-1] if self.slots else None
        self._place -= count
        if self._planned is not None and self._planned.state is not None:
            self._state = self._planned.state

    def interrupt(self) -> None:
        """A new epoch: sound and unfinished work of the old one are dropped.

        A face that speaks fades into the idle loop. No worker is needed for that: those are
        at what is dropped just now, and a block of silence would come too late.
        """
        self.epoch += 1
        self.script.forget()
        self.script.speaking = False
        self._to_decode.clear()
        self.drawing = False
        waiting = self.slots
        self.slots = deque()
        self._planned = None
        shown = self.shown
        # The loop goes on from the last frame of it that is shown.
        self._place = shown.place + 1 if shown is not None and not shown.steps else 0
        if shown is None or shown.resting:
            self._state = self._find_idle_state(max(0, self._place - 1))
        else:
            self._fade(shown, waiting)

    def reset(self) -> None:
        """A new epoch that begins at rest, with nothing of the old one."""
        self.epoch += 1
        self.script.forget()
        self.script.speaking = False
        self.slots.clear()
        self._to_decode.clear()
        self._planned = None
        self.shown = None
        self.drawing = False
        self._place = 0
        self._state = self._rest_state()

    def show(self, portrait: LivePortrait) -> None:
        """Another face from the next frame on that is not planned yet."""
        self._next_portrait = portrait

    def _rest_state(self) -> StreamState:
        return self._find_idle_state(0)

    def _find_idle_state(self, place: int) -> StreamState:
        """The stream's after the idle loop's frame at a place."""
        return self._portrait.idle.state_at(place, keep=self._sampler.keep)

    def _must_ease(self) -> bool:
        """Whether the queue will be empty before a block of silence could be drawn."""
        if not self.script.speaking:
            return False
        if self._numbers.pace == FAST:
            return not self.slots and self.script.ended
        left = float(len(self.slots) / self._numbers.fps)
        costs = self._host.costs
        return left <= costs.typical(self._kind) + costs.typical(DECODE)

    @property
    def _kind(self) -> str:
        return name_drawing(self._numbers.mode, self.ladder.rung.steps)

    def _change_portrait(self) -> None:
        if self._next_portrait is not None:
            self._portrait = self._next_portrait
            self._next_portrait = None
            self._place = 0
            self._state = self._rest_state()

    def _add(self, slot: Slot) -> None:
        self.slots.append(slot)
        self._planned = slot

    def _draw(self, cue: Cue) -> None:
        rung = self.ladder.rung
        due = self.find_due(len(self.slots))
        slots = []
        for frame in cue.frames:
            slot = Slot(frame, self.epoch, rung.steps, before=self._planned or self.shown)
            slots.append(slot)
            self._add(slot)
        self._place = 0
        self.drawing = True
        block = _Block(slots, rung.every, self._state, self._portrait, due)
        kind = self._kind
        self._handed_in[id(slots)] = ("drawing", self._host.clock.now())
        self._host.workers.submit(
            kind,
            lambda: self._run_draw(block),
            due=due,
            done=lambda seconds: self._note_cost(kind, seconds, slots),
        )

    def _run_draw(self, block: _Block) -> None:
        """In a worker: tokens and latents."""
        slots = block.slots
        epoch = slots[0].epoch
        try:
            drawn = slots[block.every - 1 :: block.every]
            tokens = tuple(self._tokens.encode(_columns_of(slot)) for slot in drawn)
            sitter = block.portrait.sitter
            order = BlockOrder(sitter, tokens, slots[0].steps, lambda: self.epoch != epoch)
            after = self._sampler.draw(block.state, order)
            keep = self._sampler.keep
            enter_states(slots, before=block.state, after=after, every=block.every, keep=keep)
        except BlockCancelledError:
            return
        except Exception as error:
            self._fail(error, epoch)
            return
        finally:
            self._handed_in.pop(id(slots), None)
        with self._changed:
            if self.epoch == epoch:
                self._finish_drawing(block, after)

    def _finish_drawing(self, block: _Block, after: StreamState) -> None:
        self._state = after
        self.drawing = False
        self._statistics.blocks += 1
        self._statistics.denoiser_calls += block.slots[0].steps
        before = block.slots[0].before
        entering = self.resting or before is None or before.resting
        if self._numbers.pace != FAST and not entering:
            self.ladder.judge(
                self._host.clock.now(),
                slack=block.due - self._host.clock.now(),
                period=float(len(block.slots) / self._numbers.fps),
                load=self._host.load(),
            )
        self._to_decode.append(block.slots)
        self._start_decoding()
        self.plan()
        self._changed.notify_all()

    def _note_cost(self, kind: str, seconds: float, slots: list[Slot]) -> None:
        """Work that was broken off says nothing of what it costs."""
        if self.epoch == slots[0].epoch:
            self._host.costs.tell(kind, seconds)

    def _start_decoding(self) -> None:
        """One block of a session is decoded at a time: pixels that hold need their order."""
        if self._decoding or not self._to_decode:
            return
        self._decoding = True
        slots = self._to_decode.popleft()
        self._handed_in[id(slots)] = ("decoding", self._host.clock.now())
        self._host.workers.submit(
            DECODE,
            lambda: self._run_decode(slots),
            due=self.find_due(0),
            done=lambda seconds: self._note_cost(DECODE, seconds / len(slots), slots),
        )

    def _run_decode(self, slots: list[Slot]) -> None:
        """In a worker: a block's pictures, each given as soon as it is there."""
        try:
            for slot in slots:
                if self.epoch != slot.epoch:
                    break
                self._decode(slot)
        except Exception as error:
            self._fail(error, slots[0].epoch)
        finally:
            self._handed_in.pop(id(slots), None)
            with self._changed:
                self._decoding = False
                self._start_decoding()

    def _decode(self, slot: Slot) -> None:
        assert slot.state is not None  # it was drawn
        picture = self._host.decode(slot.state.past[-1].latents)
        shown = None if slot.before is None else slot.before.picture
        picture = hold_still(picture, shown, levels=self._numbers.hold)
        with self._changed:
            slot.before = None
            slot.ready = self._host.clock.now()
            slot.picture = picture
            self._changed.notify_all()

    def _fail(self, error: BaseException, epoch: int) -> None:
        """What failed for an epoch that is over concerns this session no more."""
        self._host.note_failure(error)
        with self._changed:
            if self.epoch == epoch:
                self.on_failure(error)
                self._changed.notify_all()

    def _fade(self, shown: Slot, waiting: deque[Slot]) -> None:
        """What was ready is still shown, ever less of it and without its sound."""
        count = max(1, int(_FADE * self._numbers.fps))
        assert shown.picture is not None  # it was given
        latest = shown.picture
        for number in range(count):
            # what is not ready is not waited for
            ready = waiting.popleft().picture if waiting else None
            if ready is None:
                waiting.clear()
            else:
                latest = ready
            cue = CueFrame(NO_SOUND, EASING, None, end_of_utterance=False)
            slot = self.make_idle(cue)
            assert slot.picture is not None  # the loop's
            slot.picture = fade(latest, slot.picture, share=(number + 1) / (count + 1))
            self._add(slot)
        self._add(self.make_idle())  # what is said next begins at rest


def _columns_of(slot: Slot) -> NDArray[np.float32]:
    assert slot.cue.columns is not None  # a block's frames have some
    return slot.cue.columns

"""Which calls of which renderings become samples.

All calls are known before anything runs, so samples are drawn before. It is a draw by
seeded hashes, in which strata take turns: every step of the trajectory, within a step
every portrait, then voices and windows. It gives what a stratified reservoir over the
calls would give, but says beforehand how much disk the samples take, which renderings
can be left out, and the same after an interrupt.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from echoexport.runtime.contract.manifest import NetworkEntry
from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.denoiser import BLANKED

_FIRST_STEPS = 3
"""Trajectories are started again from samples of the first step: so many at least,
where the number allows."""

_NPY_HEADER = 128
_REFERENCE = "reference_"
_DENOISER = "denoising_unet"


@dataclass(frozen=True)
class RenderingShape:
    """What is known of a rendering before it runs."""

    portrait: str
    voice: str
    frames: int
    """Frames, with poses those that have one."""
    windows: int
    """Of a step."""
    segments: int
    """Of its voice."""


@dataclass(frozen=True)
class DrawSettings:
    """What the draw must keep to."""

    samples: int
    """The most of each network."""
    megabytes: float
    """The most of all arrays."""
    steps: int
    guided: bool
    """Each window is called twice, the second time without its conditions."""
    posed: bool
    """Faces come a frame each."""
    seed: int


@dataclass(frozen=True)
class DrawnCall:
    """The ``index``-th call of a network in rendering ``number``.

    For the decoder it is the call of frame ``index``.
    """

    network: str
    number: int
    index: int
    step: int | None = None
    window: int | None = None
    half: int = 0


@dataclass(frozen=True)
class Draw:
    """The calls to keep."""

    calls: tuple[DrawnCall, ...]
    """Each network's in an order of which any beginning is spread."""
    need: int
    """Bytes that they take at most."""

    def numbers(self) -> tuple[int, ...]:
        """Renderings that must run."""
        return tuple(sorted({call.number for call in self.calls}))


def draw_samples(
    shapes: Sequence[RenderingShape], networks: Mapping[str, NetworkEntry], settings: DrawSettings
) -> Draw:
    """As many samples as the two limits allow, the number first, then the megabytes.

    Raises:
        SettingError: not even one sample of each network fits.
    """
    limit = int(settings.megabytes * 1e6)
    shapes = _limit_portraits(shapes, networks, settings=settings)
    least = 0
    most = settings.samples
    found: Draw | None = None
    need = 0
    while least < most:  # found fits, what follows ``most`` does not
        middle = most if found is None and most == settings.samples else (least + most + 1) // 2
        calls = _draw_calls(shapes, networks, replace(settings, samples=middle))
        need = measure_bytes(calls, shapes, networks, posed=settings.posed)
        if need <= limit:
            found = Draw(calls, need)
            least = middle
        else:
            most = middle - 1
    if found is None:
        raise SettingError(
            f"{settings.megabytes:g} MB: one sample of each network takes {need / 1e6:.1f} MB "
            "at this size; allow more"
        )
    return found


def measure_bytes(
    calls: Iterable[DrawnCall],
    shapes: Sequence[RenderingShape],
    networks: Mapping[str, NetworkEntry],
    *,
    posed: bool,
) -> int:
    """Bytes of the calls' arrays, what portraits and steps share counted once."""
    sizes: dict[tuple[object, ...], int] = {}
    for call in calls:
        for tensor in networks[call.network].inputs:
            own: tuple[object, ...] = (call,)
            if call.network == _DENOISER and tensor.name == "timestep_sinusoid":
                own = (call.step,)
            elif call.network == _DENOISER and tensor.name == "reference_gate":
                own = (call.half,)
            elif call.network == _DENOISER and _is_portraits(tensor.name, posed=posed):
                half = call.half if tensor.name in BLANKED else None
                own = (shapes[call.number].portrait, half)
            key = (call.network, tensor.name, *own)
            sizes[key] = _NPY_HEADER + 4 * math.prod(tensor.shape)
    return sum(sizes.values())


def _is_portraits(tensor: str, *, posed: bool) -> bool:
    return tensor.startswith((f"{_REFERENCE}key.", f"{_REFERENCE}value.")) or (
        tensor == "face_feature" and not posed
    )


def _limit_portraits(
    shapes: Sequence[RenderingShape],
    networks: Mapping[str, NetworkEntry],
    *,
    settings: DrawSettings,
) -> list[RenderingShape]:
    """As many portraits as half of the megabytes hold.

    A portrait adds far more than a sample does. The others keep their places, with
    nothing to draw from.
    """
    shared = sum(
        _NPY_HEADER + 4 * math.prod(tensor.shape)
        for tensor in networks[_DENOISER].inputs
        if _is_portraits(tensor.name, posed=settings.posed)
    )
    most = max(1, int(settings.megabytes * 1e6 / 2 // max(shared, 1)))
    names = sorted(
        dict.fromkeys(shape.portrait for shape in shapes),
        key=lambda name: _rank(settings.seed, "portrait", name),
    )
    kept = set(names[:most])
    return [shape if shape.portrait in kept else replace(shape, windows=0) for shape in shapes]


def _draw_calls(
    shapes: Sequence[RenderingShape], networks: Iterable[str], settings: DrawSettings
) -> tuple[DrawnCall, ...]:
    """Calls to keep, of renderings that the denoiser's samples choose.

    The other networks' samples come from the same renderings; of a network that is
    not known here there are none.
    """
    denoiser = _draw_denoiser(shapes, settings)
    numbers = sorted({call.number for call in denoiser})
    # the first rendering of each portrait, and of each voice, runs its network
    by_portrait = {shapes[number].portrait: number for number in reversed(numbers)}.values()
    by_voice = {shapes[number].voice: number for number in reversed(numbers)}.values()
    every_frame = [(number, frame) for number in numbers for frame in range(shapes[number].frames)]
    once = [(number, 0) for number in by_portrait]
    candidates = {
        "vae_encoder": once,
        "reference_unet": once,
        "landmark_encoder": every_frame if settings.posed else once,
        "audio_encoder": [
            (number, segment) for number in by_voice for segment in range(shapes[number].segments)
        ],
        "vae_decoder": every_frame,
    }
    drawn = {
        name: _draw_others([DrawnCall(name, *place) for place in places], shapes, settings)
        for name, places in candidates.items()
    }
    drawn[_DENOISER] = denoiser
    return tuple(call for name in networks for call in drawn.get(name, ()))


def _draw_denoiser(shapes: Sequence[RenderingShape], settings: DrawSettings) -> list[DrawnCall]:
    steps = [_list_step(shapes, step, guided=settings.guided) for step in range(settings.steps)]
    pools = [_shuffle(step, shapes, settings) for step in steps]
    shares = share_steps(settings.samples, [len(pool) for pool in pools])
    tally = _Tally(shapes)
    chosen: list[DrawnCall] = []
    for turn in range(max(shares, default=0)):
        for pool, share in zip(pools, shares, strict=True):
            if turn < share:
                chosen.append(_take_least(pool, tally.judge))
                tally.count(chosen[-1])
    return chosen


class _Tally:
    """How often each stratum was drawn from, so that the rarest has its turn."""

    def __init__(self, shapes: Sequence[RenderingShape]) -> None:
        self._shapes = shapes
        self._counts: Counter[tuple[object, ...]] = Counter()

    def judge(self, call: DrawnCall) -> tuple[object, ...]:
        """What calls are ordered by: the least is drawn next."""
        shape = self._shapes[call.number]
        counts = self._counts
        return (
            counts[call.step, "portrait", shape.portrait],
            counts["portrait", shape.portrait],
            counts["voice", shape.voice] > 0,
            not counts["rendering", call.number],
            counts["voice", shape.voice],
            counts["half", call.half],
            counts[call.step, "window", call.window],
        )

    def count(self, call: DrawnCall) -> None:
        """A call that was drawn."""
        shape = self._shapes[call.number]
        self._counts.update(
            [
                (call.step, "portrait", shape.portrait),
                ("portrait", shape.portrait),
                ("voice", shape.voice),
                ("rendering", call.number),
                ("half", call.half),
                (call.step, "window", call.window),
            ]
        )


def _list_step(shapes: Sequence[RenderingShape], step: int, *, guided: bool) -> list[DrawnCall]:
    """A step's calls, in every rendering: windows in order, each with its halves.

    At the first step not the halves without conditions: a trajectory that starts from a
    sample needs them.
    """
    halves = 2 if guided else 1
    return [
        DrawnCall(
            _DENOISER, number, (step * shape.windows + window) * halves + half, step, window, half
        )
        for number, shape in enumerate(shapes)
        for window in range(shape.windows)
        for half in range(halves if step else 1)
    ]


def share_steps(samples: int, available: Sequence[int]) -> list[int]:
    """How many samples each step gives.

    All give alike, but the first a few at least. Fewer samples than steps are spread
    out.
    """
    if not available:
        return []
    shares = [0] * len(available)
    shares[0] = min(available[0], max(1, min(_FIRST_STEPS, samples - len(available) + 1)))
    bits = (len(available) - 1).bit_length()
    spread = [int(f"{step:0{bits}b}"[::-1], 2) if bits else 0 for step in range(len(available))]
    while sum(shares) < samples:
        open_steps = [step for step, share in enumerate(shares) if share < available[step]]
        if not open_steps:
            break
        shares[min(open_steps, key=lambda step: (shares[step], spread[step]))] += 1
    return shares


def _draw_others(
    candidates: list[DrawnCall], shapes: Sequence[RenderingShape], settings: DrawSettings
) -> list[DrawnCall]:
    counts: Counter[tuple[str, str]] = Counter()
    pool = _shuffle(candidates, shapes, settings)
    chosen: list[DrawnCall] = []

    def judge(call: DrawnCall) -> tuple[object, ...]:
        shape = shapes[call.number]
        return (counts["portrait", shape.portrait], counts["voice", shape.voice])

    for _ in range(min(settings.samples, len(pool))):
        call = _take_least(pool, judge)
        counts.update(
            [("portrait", shapes[call.number].portrait), ("voice", shapes[call.number].voice)]
        )
        chosen.append(call)
    return chosen


def _shuffle(
    calls: Iterable[DrawnCall], shapes: Sequence[RenderingShape], settings: DrawSettings
) -> list[DrawnCall]:
    """In an order that depends on the seed and on what a call is of, not on what else there is."""

    def rank(call: DrawnCall) -> int:
        shape = shapes[call.number]
        return _rank(settings.seed, call.network, shape.portrait, shape.voice, call.index)

    return sorted(calls, key=rank)


def _take_least(
    pool: list[DrawnCall], judge: Callable[[DrawnCall], tuple[object, ...]]
) -> DrawnCall:
    """The first of those that were taken from least."""
    place = min(range(len(pool)), key=lambda index: judge(pool[index]))
    return pool.pop(place)


def _rank(seed: int, *parts: object) -> int:
    """A number that is as good as drawn, the same for the same parts."""
    return int.from_bytes(
        hashlib.sha256("/".join(map(str, (seed, *parts))).encode()).digest()[:8], "little"
    )


def seed_noise(seed: int, portrait: str, voice: str) -> int:
    """The seed of one rendering's noise, 0 to 2**64 - 1."""
    return _rank(seed, "noise", portrait, voice)

"""How a live session is wanted, checked and settled against a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf

from echoexport.runtime.contract.live_networks import LIVE_DENOISER, find_live_denoiser
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.noise_schedule import is_whole
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.rates import Rate, exact_rate
from echoexport.runtime.live.listening.hearing import HearingSettings
from echoexport.runtime.live.listening.sound_stream import check_rate
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.runtime.sampling.denoiser import is_guided
from echoexport.runtime.sampling.noise import check_seed

REAL = "real"
FAST = "fast"
PACES = (REAL, FAST)
"""Each frame when it is due, or as soon as it is made."""

RENOISED = "renoised"
CACHED = "cached"
MODES = (RENOISED, CACHED)
"""Ways of sampling, see :mod:`echoexport.runtime.live.drawing.causal_sampling`."""

DENOISERS = {RENOISED: "denoising_unet", CACHED: LIVE_DENOISER}
"""The denoiser that each mode calls."""

_BLOCK = 4  # frames; fewer are seen with too much noise of their own, more wait for more sound


@dataclass(frozen=True)
class LiveSettings:
    """How to talk; None takes the bundle's own default."""

    fps: Rate | None = None
    """Frames a second."""
    mode: str | None = None
    """Of ``MODES``; None takes "renoised", which hears best; "cached" takes half the work."""
    steps: int | None = None
    """Of the sampling loop; None takes as many as this device keeps up with, up to the bundle's."""
    guidance: float | None = None
    """Above 1, each call costs a second, unconditional one; in mode "renoised" alone."""
    block: int | None = None
    """New frames that are drawn at once, in mode "renoised"; None is 4."""
    sample_rate: int = 16_000
    """Of the samples that go with the frames."""
    seed: int = 0
    """Of the noise, 0 to 2**64 - 1."""
    hold: int | None = None
    """Levels of 255 up to which a pixel's change is not shown."""
    pace: str = REAL
    """Of ``PACES``."""
    deterministic: bool = False
    """Never step down when the device falls behind, so that frames depend on the sound alone."""
    quiet_db: float = -35.0
    """Loudness of the strongest mel channel below which a frame is silence, in dB to a sine of
    about a tenth of full scale."""
    idle_seconds: float = 2.0
    """Of the loop that is played while nobody speaks, one way."""
    most_pending: float = 120.0
    """Seconds of sound that may wait to be spoken."""
    ahead: float = 0.8
    """Seconds of frames that may be drawn before they are shown."""
    patience: float = 10.0
    """Seconds after which an engine that gives no answer ends the session."""


@dataclass(frozen=True)
class LiveNumbers:
    """Settings with every default filled in."""

    hearing: HearingSettings
    """How it listens."""
    mode: str
    """Of ``MODES``."""
    steps: int
    """Of the sampling loop, where the device keeps up."""
    guidance: float
    """1 or less is off."""
    block: int
    """New frames that are drawn at once."""
    seed: int
    """Of the noise."""
    hold: int
    """Levels of 255 up to which a pixel's change is not shown."""
    pace: str
    """Of ``PACES``."""
    deterministic: bool
    """Whether it never steps down."""
    idle_frames: int
    """Of the idle loop, at least."""
    most_pending: float
    """Seconds of sound that may wait to be spoken."""
    ahead_frames: int
    """That may be drawn before they are shown."""
    patience: float
    """Seconds after which an engine that gives no answer ends the session."""

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return self.hearing.fps


def settle_live(manifest: Manifest, settings: LiveSettings) -> LiveNumbers:
    """Every number of a session.

    Raises:
        SettingError: one that cannot work with this bundle.
    """
    fps = exact_rate(manifest.fps if settings.fps is None else settings.fps)
    guidance = _settle_guidance(manifest, settings)
    mode = _settle_mode(manifest, settings, guidance=guidance)
    check_seed(settings.seed)
    sampler = manifest.sampler
    steps = settings.steps
    if steps is None:
        steps = sampler.steps if sampler.live_steps is None else sampler.live_steps
    DDIMScheduler(sampler.scheduler).timesteps(steps)
    if settings.pace not in PACES:
        raise SettingError(f"pace {settings.pace!r}; known: {', '.join(PACES)}")
    hold = manifest.picture.hold if settings.hold is None else settings.hold
    if not is_whole(hold) or not 0 <= hold <= 255:
        raise SettingError(f"hold {hold!r}: 0 to 255 levels are wanted; 0 shows every change")
    return LiveNumbers(
        hearing=_settle_hearing(manifest, settings, fps=fps),
        mode=mode,
        steps=steps,
        guidance=guidance,
        block=_settle_block(manifest, settings, mode=mode),
        seed=settings.seed,
        hold=hold,
        pace=settings.pace,
        deterministic=settings.deterministic,
        idle_frames=max(1, round(_check_seconds("idle", settings.idle_seconds, 60) * fps)),
        most_pending=_check_seconds("pending", settings.most_pending, 3600),
        ahead_frames=max(1, round(_check_seconds("ahead", settings.ahead, 60) * fps)),
        patience=_check_seconds("patience", settings.patience, 3600),
    )


def _settle_guidance(manifest: Manifest, settings: LiveSettings) -> float:
    guidance = manifest.sampler.guidance if settings.guidance is None else settings.guidance
    is_number = isinstance(guidance, (int, float)) and not isinstance(guidance, bool)
    if not is_number or not 0 <= guidance < inf:
        raise SettingError(f"guidance {guidance!r}: a number from 0 on is wanted; 1 or less is off")
    return float(guidance)


def _settle_mode(manifest: Manifest, settings: LiveSettings, *, guidance: float) -> str:
    if settings.mode is None:
        return RENOISED
    if settings.mode not in MODES:
        raise SettingError(f"mode {settings.mode!r}; known: {', '.join(MODES)}")
    if settings.mode == CACHED and LIVE_DENOISER not in manifest.networks:
        raise SettingError(
            f"mode {CACHED!r}: this bundle has no network for it; build it again, or use "
            f"mode {RENOISED!r}"
        )
    if settings.mode == CACHED and is_guided(guidance):
        raise SettingError(f"guidance {guidance:g} needs mode {RENOISED!r}: {CACHED!r} has none")
    return settings.mode


def _settle_block(manifest: Manifest, settings: LiveSettings, *, mode: str) -> int:
    live = find_live_denoiser(manifest) if mode == CACHED else None
    if live is not None:
        own = live.new_frames
        if settings.block not in (None, own):
            raise SettingError(f"block {settings.block!r}: mode {CACHED!r} draws {own} at once")
        return own
    most = manifest.window.frames - 1
    block = min(_BLOCK, most) if settings.block is None else settings.block
    if not is_whole(block) or not 1 <= block <= most:
        raise SettingError(f"block {block!r}: 1 to {most} new frames fit this bundle's window")
    return block


def _settle_hearing(
    manifest: Manifest, settings: LiveSettings, *, fps: Fraction
) -> HearingSettings:
    quiet = settings.quiet_db
    if isinstance(quiet, bool) or not isinstance(quiet, (int, float)) or not -60 <= quiet <= 20:
        raise SettingError(f"quiet {quiet!r} dB: a number from -60 to 20 is wanted, e.g. -35")
    return HearingSettings(
        fps=fps,
        mels=manifest.audio.mels,
        sample_rate=check_rate(settings.sample_rate),
        quiet_below=quiet / 10,
    )


def _check_seconds(name: str, value: object, most: float) -> float:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or not 0 < value <= most:  # type: ignore[operator]
        raise SettingError(f"{name} {value!r}: seconds above 0 and up to {most:g} are wanted")
    return float(value)  # type: ignore[arg-type]

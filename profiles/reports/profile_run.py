"""Profiling a bundle: every mode warmed up and repeated, and all of it in one report.

Layers, probe, roofline and forecast are part of it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from echoexport.profiles.measuring.circumstances import Circumstances, describe_bundle_circumstances
from echoexport.profiles.measuring.figures import find_drift
from echoexport.profiles.measuring.layers import LayerTable, measure_layers
from echoexport.profiles.measuring.modes import IN_TURNS, OVERLAPPED
from echoexport.profiles.measuring.probe import Probe, probe_bundle
from echoexport.profiles.measuring.rounds import ClipSource, ClipWork, Round, RoundSource
from echoexport.profiles.measuring.sensor_log import SensorLog
from echoexport.profiles.measuring.sensors import Sensor, find_sensors
from echoexport.profiles.modelling.demand import DENOISER, count_calls
from echoexport.profiles.modelling.forecast import make_forecast
from echoexport.profiles.modelling.roofline import Roofline, draw_roofline, find_roof
from echoexport.profiles.quality.report import describe_verdict, read_quality_report
from echoexport.profiles.quality.strips import read_strip
from echoexport.profiles.reports.mode_report import describe_mode
from echoexport.profiles.reports.profile import (
    PROFILE_KIND,
    PROFILE_SCHEMA,
    BundleFacts,
    LayerShare,
    LayerSummary,
    ModeReport,
    ProfileReport,
    ProfileSettings,
    QualityExcerpt,
)
from echoexport.profiles.reports.verdict import find_quicker, give_verdict
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.spec import describe_arithmetic
from echoexport.runtime.errors import BackendError, EchoExportError, SettingError
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.inputs.sound.stored import StoredSound
from echoexport.runtime.progress import Progress
from echoexport.runtime.rendering.settings import settle_sampling
from echoexport.runtime.sampling.sampler import SamplingSettings
from echoexport.runtime.trace.tracer import Span
from echoexport.targets.spec import list_targets, load_target

__all__ = ["ProfileEffort", "Profiled", "profile_bundle", "profile_source"]

_ROOMS = ("targets", "runtime", "profiles", "calibration", "export")
_MOST_LAYERS = 25  # of one network in the report
_NOT_ASKED = "not asked for: --layers times them"


@dataclass(frozen=True)
class ProfileEffort:
    """How a bundle is profiled."""

    warmup: int = 1
    """Repeats of each mode that do not count."""
    repeats: int = 5
    """Repeats of each mode."""
    layers: bool = False
    """Whether to time layers too."""
    layer_calls: int = 10
    probe: float = 1.0
    """Seconds for each test of the device."""

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.repeats < 1:
            raise SettingError(
                f"{self.repeats} repeats after {self.warmup} warm-up: at least 1 and 0 are wanted"
            )


@dataclass(frozen=True)
class Profiled:
    """The report, and the spans of the last repeat of its first mode."""

    report: ProfileReport
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class _Device:
    """What is asked of the machine while the bundle is open in turns, with nothing else at work."""

    facts: BundleFacts
    settings: ProfileSettings
    layers: tuple[LayerSummary, ...]
    layers_note: str
    probe: Probe
    conditions: Circumstances
    quality: QualityExcerpt | None


def profile_bundle(
    work: ClipWork,
    effort: ProfileEffort,
    *,
    tell: Progress = lambda phase, done, total: None,
    sensors: Sequence[Sensor] | None = None,
) -> Profiled:
    """Render the clip again and again, in turns and then overlapped, and report on it.

    ``sensors`` None finds those of this machine.

    Raises:
        InputError, SettingError: a file or a setting that cannot be used.
        BundleError, BackendError: the bundle or one of its networks does not open or
            run.
    """
    sensors = find_sensors() if sensors is None else sensors
    with ClipSource(work, mode=IN_TURNS) as source:
        manifest = source.bundle.manifest
        sampling = settle_sampling(source.bundle, work.clip.settings)
        turns, _ = profile_source(source, effort, sampling=sampling, tell=tell, sensors=sensors)
        device = _ask_device(source.bundle, work, effort, mode=turns, tell=tell)
    with ClipSource(work, mode=OVERLAPPED) as source:
        overlapped, rounds = profile_source(
            source, effort, sampling=sampling, tell=tell, sensors=sensors
        )
    roofline = _draw_roofline(manifest, turns, device.probe)
    fps = device.settings.fps
    targets = [load_target(target) for target in list_targets()]
    forecast = make_forecast(manifest, sampling, fps=fps, roofline=roofline, targets=targets)
    report = ProfileReport(
        schema=PROFILE_SCHEMA,
        kind=PROFILE_KIND,
        verdict=give_verdict((overlapped, turns), forecast, wanted=fps),
        bundle=device.facts,
        settings=device.settings,
        modes=(overlapped, turns),
        layers=device.layers,
        layers_note=device.layers_note,
        probe=device.probe,
        roofline=roofline,
        forecast=forecast,
        quality=device.quality,
        notes=_list_notes(rounds, (overlapped, turns), roofline, backend=device.facts.backend),
        conditions=device.conditions,
    )
    return Profiled(report, rounds[-1].spans)


def _draw_roofline(manifest: Manifest, turns: ModeReport, probe: Probe) -> Roofline:
    medians = {network.name: network.host.figures.p50 for network in turns.networks}
    known = manifest.target in list_targets()
    peak = find_roof(load_target(manifest.target)) if known else probe.roof
    return draw_roofline(manifest, medians, peak=peak, probe=probe.roof)


def profile_source(
    source: RoundSource,
    effort: ProfileEffort,
    *,
    sampling: SamplingSettings,
    tell: Progress,
    sensors: Sequence[Sensor],
) -> tuple[ModeReport, tuple[Round, ...]]:
    """Warm up and repeat one source, which is entered already.

    Sensors are read while repeats run.
    """
    total = effort.warmup + effort.repeats
    for index in range(effort.warmup):
        tell(source.name, index, total)
        source.warm_up()
    rounds = []
    with SensorLog(sensors) as log:
        for index in range(effort.repeats):
            tell(source.name, effort.warmup + index, total)
            rounds.append(source.run())
    tell(source.name, total, total)
    manifest = source.bundle.manifest
    calls = count_calls(manifest, sampling, fps=rounds[0].fps)[DENOISER]
    mode = describe_mode(
        source, rounds, window=manifest.window.frames, calls=calls, sensors=log.report()
    )
    denoiser = mode.network(DENOISER)
    drift = None if denoiser is None else find_drift(denoiser.host.samples)
    return replace(mode, drift=drift), tuple(rounds)


def _ask_device(
    bundle: Bundle, work: ClipWork, effort: ProfileEffort, *, mode: ModeReport, tell: Progress
) -> _Device:
    tell("probe", 0, 1)
    probe = probe_bundle(bundle, seconds=effort.probe)
    tell("probe", 1, 1)
    layers, note = (
        ((), _NOT_ASKED) if not effort.layers else _time_layers(bundle, mode, effort, tell=tell)
    )
    return _Device(
        facts=_describe_bundle(bundle),
        settings=_describe_settings(bundle, work, effort, mode),
        layers=layers,
        layers_note=note,
        probe=probe,
        conditions=describe_bundle_circumstances(bundle),
        quality=_read_quality(bundle),
    )


def _time_layers(
    bundle: Bundle, mode: ModeReport, effort: ProfileEffort, *, tell: Progress
) -> tuple[tuple[LayerSummary, ...], str]:
    """Layers of every network that the clip called.

    One whose layers cannot be timed is left out, and the note says why.
    """
    found = []
    reasons = []
    for index, network in enumerate(mode.networks):
        tell("layers", index, len(mode.networks))
        try:
            found.append(_sum_up(measure_layers(bundle, network.name, calls=effort.layer_calls)))
        except BackendError as error:
            reasons.append(str(error))
    tell("layers", len(mode.networks), len(mode.networks))
    return tuple(found), "; ".join(dict.fromkeys(reasons))


def _sum_up(table: LayerTable) -> LayerSummary:
    longest = sorted(table.layers, key=lambda layer: -layer.seconds)[:_MOST_LAYERS]
    return LayerSummary(
        table.network,
        table.calls,
        table.wall,
        table.seconds,
        table.other_share,
        len(table.layers),
        tuple(LayerShare(group, "", group, seconds) for group, seconds in table.groups.items()),
        tuple(LayerShare(layer.name, layer.kind, layer.group, layer.seconds) for layer in longest),
    )


def _describe_bundle(bundle: Bundle) -> BundleFacts:
    manifest = bundle.manifest
    arithmetic = bundle.arithmetic()
    return BundleFacts(
        name=bundle.folder.resolve().name,
        identity=bundle.identity(DENOISER)[:16],
        variant=manifest.variant,
        target=manifest.target,
        precision=manifest.precision,
        compute=describe_arithmetic(arithmetic),
        arithmetic=arithmetic,
        backend=bundle.backend.name,
        width=manifest.picture.width,
        height=manifest.picture.height,
        window=manifest.window.frames,
        bytes=sum(file.bytes for file in manifest.files.values()),
        weights=bundle.measure_weights(*manifest.networks),
        package=_measure_package(),
    )


def _describe_settings(
    bundle: Bundle, work: ClipWork, effort: ProfileEffort, mode: ModeReport
) -> ProfileSettings:
    sampling = settle_sampling(bundle, work.clip.settings)
    fps = float(work.clip.settings.fps or bundle.manifest.fps)
    return ProfileSettings(
        fps=fps,
        duration=mode.frames / fps,
        frames=mode.frames,
        steps=sampling.steps,
        guidance=sampling.guidance,
        overlap=sampling.overlap,
        warmup=effort.warmup,
        repeats=effort.repeats,
        threads=bundle.options.threads,
        portrait=_name_file(work.clip.portrait),
        voice=_name_file(work.clip.voice),
    )


def _name_file(source: Path | StoredPicture | StoredSound) -> str:
    return (source if isinstance(source, Path) else source.path).name


def _read_quality(bundle: Bundle) -> QualityExcerpt | None:
    """What the bundle's own quality report says; None where it has none that this release reads."""
    name = bundle.manifest.quality
    if name is None:
        return None
    path = bundle.folder / name
    try:
        report = read_quality_report(path.with_suffix(".json"))
        page = path.with_suffix(".html").read_text(encoding="utf-8")
    # Of another release: the page then says that there is none.
    except (
        EchoExportError,
        OSError,
        ValueError,
    ):
        return None
    return QualityExcerpt(describe_verdict(report), read_strip(page))


def _list_notes(
    rounds: Iterable[Round], modes: Sequence[ModeReport], roofline: Roofline, *, backend: str
) -> tuple[str, ...]:
    notes = [warning for one in rounds for warning in one.warnings]
    if backend == "null":
        notes.append(
            "backend 'null' computes nothing: these are the times of everything but the networks"
        )
    return tuple(filter(None, dict.fromkeys([*notes, find_quicker(modes), roofline.note])))


def _measure_package() -> int:
    """Bytes of our rooms' files as they lie here, without what Python compiled."""
    total = 0
    for room in _ROOMS:
        spec = importlib.util.find_spec(f"echoexport.{room}")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files = (
                path
                for path in Path(folder).rglob("*")
                if "__pycache__" not in path.parts and path.is_file()
            )
            total += sum(path.stat().st_size for path in files)
    return total

"""An int8 or "auto" bundle put together.

What each network is stored and computed in, proven on frames.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from echoexport.calibration.plan import FILE_NAME as PLAN_FILE
from echoexport.calibration.plan import write_plan
from echoexport.export.build.candidates import Candidate, choose_fastest, measure_candidates
from echoexport.export.build.checks import NOT_CHECKED, check_bundle
from echoexport.export.build.fp16_graphs import NOT_SETTLED, describe_settled
from echoexport.export.build.int8_networks import (
    FloatBundles,
    QuantizedNetworks,
    float_bundles,
    quantize_bundles,
)
from echoexport.export.build.parts import Part, add_file, compose_bundle, part_of
from echoexport.export.build.settings import BuildSettings
from echoexport.export.ort_cuda import add_own_graphs
from echoexport.export.output_folder import written_aside
from echoexport.profiles.measuring.latency import read_self_test_inputs
from echoexport.profiles.pages.quality_page import write_quality_report
from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
from echoexport.profiles.quality.networks import is_large
from echoexport.profiles.quality.report import JSON_NAME, PAGE_NAME, QualityBudget, QualityReport
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.manifest import (
    Manifest,
    QuantizationSummary,
    read_manifest,
    write_manifest,
)
from echoexport.runtime.engine.protocol import EngineOptions, list_arithmetic
from echoexport.runtime.errors import QualityError
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import TargetSpec

LEAST_SSIM = 0.97
LARGEST_LOSS = 0.02
"""What a score of the mouth (a correlation, or a share of frames) may lose."""
MOST_DISAGREEMENT = 0.05
"""Relative L2 distance of two engines' outputs of one int8 network."""


@dataclass(frozen=True)
class Choice:
    """What a network will be."""

    precision: str
    compute: str
    reason: str = ""
    """Why, for the notes."""


def build_small_bundle(
    build: Callable[[Path, BuildSettings], Manifest],
    output: Path,
    *,
    target: TargetSpec,
    settings: BuildSettings,
    report: Progress,
) -> Manifest:
    """Quantize, choose and prove; ``build`` makes a float bundle of these settings in a folder.

    Raises:
        QualityError: the quality asked for cannot be kept in int8; nothing is written.
        CalibrationError, SettingError: a set, plan or setting that cannot be used.
        OutputError: the output cannot be written.
    """
    with ExitStack() as stack:
        floats = stack.enter_context(
            float_bundles(build, settings=settings, target=target, near=output)
        )
        work = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".int8-", dir=floats.float32.parent)
            )
        )
        networks = work / "networks"
        networks.mkdir()
        quantized = quantize_bundles(
            floats, networks, settings=settings, target=target, report=report
        )
        made = _Assembly(
            floats, quantized, name=output.name, target=target, settings=settings, report=report
        )
        choices = made.choose(work / "int8")
        folder = stack.enter_context(written_aside(output))
        manifest = made.finish(choices, folder)
    if quantized.progress is not None:
        quantized.progress.forget()
    return manifest


class _Assembly:
    """From finished networks of several precisions to one bundle."""

    def __init__(
        self,
        floats: FloatBundles,
        quantized: QuantizedNetworks,
        *,
        name: str,
        target: TargetSpec,
        settings: BuildSettings,
        report: Progress,
    ) -> None:
        """``name``: the bundle's, for its quality report."""
        self._name = name
        self._floats = floats
        self._target = target
        self._settings = settings
        self._report = report
        self._base = read_manifest(floats.base)
        self._plan = quantized.plan
        self._damage = quantized.damage
        self._int8 = dict(quantized.parts)
        self._notes: list[str] = []
        self._left: dict[str, str] = {}  # why networks that might be int8 are not, for the plan
        self._candidates: list[Candidate] = []

    def choose(self, folder: Path) -> dict[str, Choice]:
        """Int8 where there is such, for precision "int8".

        For "auto" whatever is fastest here and may be.
        """
        self._write(folder, {name: Choice("int8", "fp32") for name in self._int8})
        for name, distance in measure_disagreement(folder, tuple(self._int8)).items():
            if not distance <= MOST_DISAGREEMENT:  # NaN too
                del self._int8[name]
                self._left[name] = (
                    f"ONNX Runtime and OpenVINO differ by {distance:.3f} (relative L2) on it"
                )
                self._notes.append(f"{name} is left in float: {self._left[name]}")
        if self._settings.precision == "int8":
            return {name: Choice("int8", "fp32") for name in self._int8}
        if self._target.kind != "cpu":
            self._notes.append(
                f"precision auto: {self._target.name} cannot be measured here, so networks "
                "stay fp16"
            )
            return {}
        return self._measure(folder)

    def _measure(self, folder: Path) -> dict[str, Choice]:
        folders = {"fp32": self._floats.float32, "int8": folder}
        with open_bundle(folder) as opened:
            backend = opened.backend
        computes = [name for name in ("fp32", "bf16") if name in list_arithmetic(backend)]
        choices = {}
        for index, name in enumerate(self._base.networks):
            self._report(f"{name}: measuring candidates", index, len(self._base.networks))
            found = choose_fastest(
                measure_candidates(folders, name, backend=backend.name, computes=computes)
            )
            self._candidates += found
            best = next(one for one in found if one.verdict.startswith("chosen"))
            choices[name] = Choice(best.precision, best.compute)
        return choices

    def finish(self, choices: Mapping[str, Choice], folder: Path) -> Manifest:
        """The bundle in ``folder``.

        Composed, compared with fp32, taken back where it misses the budget, described.
        """
        choices = dict(choices)
        while True:
            manifest = self._add_plan(self._write(folder, choices), folder, choices)
            quality = self._compare(folder)
            if quality is None or quality.holds:
                break
            choices = self._take_back(choices, quality)
        return self._describe(manifest, folder, quality, choices)

    def _write(self, folder: Path, choices: Mapping[str, Choice]) -> Manifest:
        folder.mkdir(exist_ok=True)
        parts = {}
        for name in self._base.networks:
            choice = choices.get(name)
            if choice is not None and choice.precision == "int8":
                parts[name] = replace(self._int8[name], compute=choice.compute)
            else:
                parts[name] = self._float_part(
                    name, compute="fp32" if choice is None else choice.compute
                )
        manifest = compose_bundle(parts, folder, base=self._base)
        write_manifest(manifest, folder)
        return manifest

    def _float_part(self, name: str, *, compute: str) -> Part:
        return part_of(self._floats.base, self._base, name, compute=compute)

    def _compare(self, folder: Path) -> QualityReport | None:
        """The composed bundle against fp32 on clips.

        None where this machine or the variant has none to render.
        """
        from echoexport.export.demo.quality_clips import ClipPlan, list_quality_clips

        if self._base.face != "mask":
            self._notes.append(
                "quality was not measured by the build: pose variants need --poses "
                "('echoexport compare')"
            )
            return None
        with ExitStack() as stack:
            exact = EngineOptions(compute="fp32")
            reference = stack.enter_context(open_bundle(self._floats.float32, options=exact))
            candidate = stack.enter_context(open_bundle(folder))
            large = is_large(reference)  # a whole clip would take hours on a CPU
            plan = ClipPlan(people=0 if large else 3, seconds=0.5 if large else 2.0)
            clips = list_quality_clips(reference.manifest, plan, fps=reference.manifest.fps)
            if large:
                clips = [replace(clip, frames=reference.manifest.window.frames) for clip in clips]
            scores = self._scores(reference)
            settings = ComparisonSettings(
                budget=QualityBudget(
                    self._settings.quality, LEAST_SSIM, dict.fromkeys(scores, LARGEST_LOSS)
                ),
                damage={
                    "denoising_unet": {name: one.snr for one in self._damage for name in one.layers}
                },
            )
            found = compare_bundles(
                reference, candidate, clips, settings=settings, report=self._report
            )
            return replace(
                found, candidate=replace(found.candidate, name=self._name)
            )  # not that of the hidden folder

    def _scores(self, reference: Bundle) -> tuple[str, ...]:
        from echoexport.export.demo.quality_clips import CLOSED, FOLLOWS, is_character

        return (FOLLOWS, CLOSED) if is_character(reference.manifest) else ()

    def _take_back(self, choices: dict[str, Choice], quality: QualityReport) -> dict[str, Choice]:
        """The network that is furthest from fp32 goes one step back towards it.

        Raises:
            QualityError: it is the denoiser's int8 that was asked for, or all is fp32
                already.
        """
        worst = min(
            (
                one
                for one in quality.networks
                if one.name in choices and choices[one.name] != Choice("fp32", "fp32")
            ),
            key=lambda one: one.closeness.snr,
            default=None,
        )
        missed = "; ".join(quality.misses)
        if worst is None or (worst.name == "denoising_unet" and self._settings.precision == "int8"):
            raise QualityError(
                f"quality {self._settings.quality:g} dB cannot be kept in int8: {missed}; best "
                "found "
                f"{quality.headline.psnr:.1f} dB; ask for less (--quality) or for fp16"
            )
        was = choices[worst.name]
        if was.compute != "fp32":
            choices[worst.name] = Choice(was.precision, "fp32")
        elif self._settings.precision == "int8":
            del choices[worst.name]
        else:
            choices[worst.name] = Choice("fp32", "fp32")
        self._notes.append(
            f"{worst.name}: {was.precision} computing in {was.compute} was taken back: {missed}"
        )
        self._left[worst.name] = f"taken back: {missed}"
        return choices

    def _add_plan(
        self, manifest: Manifest, folder: Path, choices: Mapping[str, Choice]
    ) -> Manifest:
        """The plan as these choices leave it, where it says anything.

        A network that is not int8 has no such layer.
        """
        networks = {}
        for name, plan in self._plan.networks.items():
            if name in choices and choices[name].precision == "int8":
                networks[name] = plan
                continue
            reason = self._left.get(name) or (
                "not the fastest here" if self._candidates else "the network is in float"
            )
            layers = {
                key: layer if layer.mode == "float" else replace(layer, mode="float", reason=reason)
                for key, layer in plan.layers.items()
            }
            networks[name] = replace(plan, precision=self._floats.precision, layers=layers)
        settled = self._floats.precision == "fp16" and any(
            plan.float32_nodes for plan in networks.values()
        )
        if not settled and all(plan.precision != "int8" for plan in networks.values()):
            (folder / PLAN_FILE).unlink(missing_ok=True)
            return manifest
        write_plan(replace(self._plan, networks=networks), folder / PLAN_FILE)
        manifest = add_file(manifest, folder, PLAN_FILE)
        write_manifest(manifest, folder)
        return manifest

    def _describe(
        self,
        manifest: Manifest,
        folder: Path,
        quality: QualityReport | None,
        choices: Mapping[str, Choice],
    ) -> Manifest:
        if any(choice.precision == "int8" for choice in choices.values()):
            reached = None if quality is None else round(quality.headline.psnr, 2)
            summary = QuantizationSummary(
                PLAN_FILE,
                self._plan.method,
                self._plan.calibration,
                self._settings.quality,
                reached,
            )
            manifest = replace(manifest, quantization=summary)
        if quality is not None:
            write_quality_report(quality, folder)
            for name in (JSON_NAME, PAGE_NAME):
                manifest = add_file(manifest, folder, name)
            manifest = replace(manifest, quality=JSON_NAME)
        lines = [
            f"{one.network}: {one.label}: {one.verdict}{_tell_seconds(one)}"
            for one in self._candidates
        ]
        made = manifest.provenance
        settings = {
            **made.settings,
            "precision": self._settings.precision,
            "quality": self._settings.quality,
        }
        manifest = add_own_graphs(manifest, folder, target=self._target)
        write_manifest(manifest, folder)
        checked = check_bundle(
            folder,
            manifest,
            target=self._target,
            which=self._settings.check,
            tell=lambda what: self._report(what, 0, len(manifest.networks)),
        )
        own = [
            note for note in made.notes if note not in (NOT_CHECKED, NOT_SETTLED)
        ]  # of the float bundles' builds
        settled = describe_settled(self._plan.networks) if self._floats.precision == "fp16" else []
        notes = (*own, *settled, *lines, *dict.fromkeys(self._notes), *checked)
        manifest = replace(manifest, provenance=replace(made, settings=settings, notes=notes))
        write_manifest(manifest, folder)
        return manifest


def measure_disagreement(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Relative L2 distance between ONNX Runtime's and OpenVINO's outputs of each network on its self-test's inputs.

    Empty where one of the two is not installed.
    """
    engines = ("ort", "openvino")
    if any(load_backend(name).unavailable() is not None for name in engines):
        return {}
    found = {}
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(
                open_bundle(folder, backend=name, options=EngineOptions(compute="fp32"))
            )
            for name in engines
        )
        for name in names:
            inputs = read_self_test_inputs(one, name)
            outputs = [bundle.network(name)(inputs) for bundle in (one, other)]
            for bundle in (one, other):
                bundle.close_network(name)
            found[name] = max(
                _distance(outputs[1][key], value) for key, value in outputs[0].items()
            )
    return found


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    error = float(np.linalg.norm((found.astype(np.float64) - wanted).ravel()))
    return error / (float(np.linalg.norm(wanted.astype(np.float64).ravel())) or 1.0)


def _tell_seconds(one: Candidate) -> str:
    return "" if one.seconds is None else f" ({1000 * one.seconds:.1f} ms a call, measured)"

"""The int8 or "auto" build, step by step, to a small bundle that is proven on frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from echoexport.calibration.plan import PLAN_NAME, NetworkPlan, write_plan
from echoexport.export.build.checks import NOT_CHECKED, check_bundle
from echoexport.export.build.fp16_graphs import NOT_SETTLED, describe_settled
from echoexport.export.build.int8.candidates import Candidate
from echoexport.export.build.int8.choice import (
    INT8,
    Choice,
    find_disagreements,
    find_worst,
    measure_networks,
    step_back,
    take_chosen,
)
from echoexport.export.build.int8.comparison import compare_with_fp32
from echoexport.export.build.int8.networks import write_networks
from echoexport.export.build.int8.planning import PlannedNetworks, plan_networks
from echoexport.export.build.job import BundleJob, open_job
from echoexport.export.build.own_graphs import add_backend_graphs
from echoexport.export.build.parts import Part, add_file, compose_bundle, part_of
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import (
    FloatBundles,
    check_sources,
    float_bundles,
    found_set,
)
from echoexport.export.output_folder import written_aside
from echoexport.profiles.pages.quality_page import write_quality_report
from echoexport.profiles.quality.report import JSON_NAME, PAGE_NAME, QualityReport
from echoexport.runtime.contract.manifest import (
    Manifest,
    QuantizationSummary,
    read_manifest,
    write_manifest,
)
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import TargetSpec


def build_int8_bundle(
    checkpoint: Path, output: Path, *, target: TargetSpec, settings: BuildSettings, report: Progress
) -> Manifest:
    """Quantize, choose and prove.

    Raises:
        CheckpointError: the checkpoint cannot be built.
        QualityError: the quality asked for cannot be kept in int8; nothing is written.
        CalibrationError, SettingError: a set, plan or setting that cannot be used.
        OutputError: the output cannot be written.
    """
    job = open_job(checkpoint, target=target, settings=settings, report=report)
    check_sources(job)
    with ExitStack() as stack:
        floats = stack.enter_context(float_bundles(job, near=output))
        work = stack.enter_context(_work_folder(floats))
        with found_set(floats, job) as recorded:
            planned = plan_networks(floats, recorded, job=job)
            parts = write_networks(
                floats, work / "networks", plan=planned.plan, recorded=recorded, report=report
            )
        floats.settle(planned.plan)
        draft = Draft(job, floats, planned, parts, name=output.name)
        choices = draft.choose(work / "int8")
        folder = stack.enter_context(written_aside(output))
        while True:
            manifest = draft.compose(choices, folder)
            quality = draft.compare(folder)
            if quality is None or quality.holds:
                break
            choices = draft.take_back(choices, quality)
        manifest = draft.describe(manifest, folder, quality)
        manifest = draft.prove(manifest, folder)
    planned.progress.forget()
    return manifest


@contextmanager
def _work_folder(floats: FloatBundles) -> Iterator[Path]:
    """Where int8 networks lie until they are brought into the bundle."""
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=floats.float32.parent) as folder:
        yield Path(folder)


@dataclass(eq=False)
class Draft:
    """An int8 bundle in the making.

    It has finished networks of several precisions, and what was found of them.
    """

    job: BundleJob
    """What is built."""
    floats: FloatBundles
    """The same bundle in float."""
    planned: PlannedNetworks
    """What is to become int8."""
    int8: dict[str, Part]
    """The networks that may be int8."""
    name: str = field(kw_only=True)
    """The bundle's, for its quality report."""
    candidates: list[Candidate] = field(default_factory=list)
    """Ways to run each network that were measured, for "auto"."""
    left: dict[str, str] = field(default_factory=dict)
    """Why networks that might be int8 are not, for the plan."""
    notes: list[str] = field(default_factory=list)
    """For the manifest."""

    def __post_init__(self) -> None:
        self.base = read_manifest(self.floats.base)

    def choose(self, folder: Path) -> dict[str, Choice]:
        """Int8 for precision "int8", for "auto" whatever is fastest here; where it may be.

        ``folder`` gets a bundle with every network in int8 that may be.
        """
        self._write(dict.fromkeys(self.int8, INT8), folder)
        for name, reason in find_disagreements(folder, self.int8).items():
            del self.int8[name]
            self.left[name] = reason
            self.notes.append(f"{name} is left in float: {reason}")
        if self.job.settings.precision == "int8":
            return dict.fromkeys(self.int8, INT8)
        if self.job.target.kind != "cpu":
            self.notes.append(
                f"precision auto: {self.job.target.name} cannot be measured here, so networks "
                "stay fp16"
            )
            return {}
        folders = {"fp32": self.floats.float32, "int8": folder}
        self.candidates = measure_networks(
            folders, tuple(self.base.networks), report=self.job.report
        )
        return take_chosen(self.candidates)

    def compose(self, choices: Mapping[str, Choice], folder: Path) -> Manifest:
        """Bring every network into ``folder`` as it was chosen, and the plan as that leaves it."""
        manifest = self._write(choices, folder)
        networks = {
            name: self._plan_as_chosen(name, plan, choices.get(name))
            for name, plan in self.planned.plan.networks.items()
        }
        if not self._says_anything(networks):
            (folder / PLAN_NAME).unlink(missing_ok=True)
            return manifest
        write_plan(replace(self.planned.plan, networks=networks), folder / PLAN_NAME)
        manifest = add_file(manifest, folder, PLAN_NAME)
        write_manifest(manifest, folder)
        return manifest

    def _write(self, choices: Mapping[str, Choice], folder: Path) -> Manifest:
        folder.mkdir(exist_ok=True)
        parts = {}
        for name in self.base.networks:
            choice = choices.get(name)
            compute = "fp32" if choice is None else choice.compute
            if choice is not None and choice.precision == "int8":
                parts[name] = replace(self.int8[name], compute=compute)
            else:
                parts[name] = part_of(self.floats.base, self.base, name, compute=compute)
        manifest = compose_bundle(parts, folder, base=self.base)
        write_manifest(manifest, folder)
        return manifest

    def _plan_as_chosen(self, name: str, plan: NetworkPlan, choice: Choice | None) -> NetworkPlan:
        """A network that is not int8 has no such layer."""
        if choice is not None and choice.precision == "int8":
            return plan
        reason = self.left.get(name) or (
            "not the fastest here" if self.candidates else "the network is in float"
        )
        layers = {
            key: layer if layer.mode == "float" else replace(layer, mode="float", reason=reason)
            for key, layer in plan.layers.items()
        }
        return replace(plan, precision=self.floats.precision, layers=layers)

    def _says_anything(self, networks: Mapping[str, NetworkPlan]) -> bool:
        settled = self.floats.precision == "fp16" and any(
            plan.float32_nodes for plan in networks.values()
        )
        return settled or any(plan.precision == "int8" for plan in networks.values())

    def compare(self, folder: Path) -> QualityReport | None:
        """The composed bundle against fp32 on clips.

        None, with a note, where the variant has no clips to render.
        """
        if self.base.drive.every_frame:  # the clips have a mask each
            self.notes.append(
                "quality was not measured by the build: pose variants need --poses "
                "('echoexport compare')"
            )
            return None
        found = compare_with_fp32(
            self.floats.float32, folder, damage=self.planned.damage, job=self.job
        )
        # not the name of the hidden folder
        return replace(found, candidate=replace(found.candidate, name=self.name))

    def take_back(self, choices: Mapping[str, Choice], quality: QualityReport) -> dict[str, Choice]:
        """The network that is furthest from fp32 goes one step back towards it.

        Raises:
            QualityError: it is the denoiser's int8 that was asked for, or all is fp32
                already.
        """
        worst = find_worst(choices, quality, settings=self.job.settings).name
        was = choices[worst]
        missed = "; ".join(quality.misses)
        self.notes.append(
            f"{worst}: {was.precision} computing in {was.compute} was taken back: {missed}"
        )
        self.left[worst] = f"taken back: {missed}"
        choice = step_back(was, settings=self.job.settings)
        if choice is None:
            return {name: one for name, one in choices.items() if name != worst}
        return {**choices, worst: choice}

    def describe(self, manifest: Manifest, folder: Path, quality: QualityReport | None) -> Manifest:
        """Say how the bundle was quantized and how good it is; add graphs for single backends."""
        if any(entry.precision == "int8" for entry in manifest.networks.values()):
            summary = QuantizationSummary(
                PLAN_NAME,
                self.planned.plan.method,
                self.planned.plan.calibration,
                self.job.settings.quality,
                None if quality is None else round(quality.headline.psnr, 2),
            )
            manifest = replace(manifest, quantization=summary)
        if quality is not None:
            write_quality_report(quality, folder)
            for name in (JSON_NAME, PAGE_NAME):
                manifest = add_file(manifest, folder, name)
            manifest = replace(manifest, quality=JSON_NAME)
        manifest = add_backend_graphs(manifest, folder, job=self.job)
        write_manifest(manifest, folder)
        return manifest

    def prove(self, manifest: Manifest, folder: Path) -> Manifest:
        """Let the bundle prove itself, and note in its manifest how it did and how it was made."""
        settings = self.job.settings
        checked = check_bundle(
            folder,
            manifest,
            target=self.job.target,
            which=settings.check,
            tell=lambda what: self.job.report(what, 0, len(manifest.networks)),
        )
        made = manifest.provenance
        asked = {"precision": settings.precision, "quality": settings.quality}
        made = replace(
            made,
            settings={**made.settings, **asked},
            notes=(*self._list_notes(made.notes), *checked),
        )
        manifest = replace(manifest, provenance=made)
        write_manifest(manifest, folder)
        return manifest

    def _list_notes(self, earlier: Sequence[str]) -> list[str]:
        """Those of the float bundles' builds that still hold, then what this build found."""
        own = [note for note in earlier if note not in (NOT_CHECKED, NOT_SETTLED)]
        half = self.floats.precision == "fp16"
        settled = describe_settled(self.planned.plan.networks) if half else []
        measured = [
            f"{one.network}: {one.label}: {one.verdict}{_tell_seconds(one)}"
            for one in self.candidates
        ]
        return [*own, *settled, *measured, *dict.fromkeys(self.notes)]


def _tell_seconds(one: Candidate) -> str:
    return "" if one.seconds is None else f" ({1000 * one.seconds:.1f} ms a call, measured)"

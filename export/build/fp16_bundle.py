"""The fp16 build with a calibration set or a plan.

What overflows on real activations stays in fp32.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from echoexport.calibration.plan import (
    PLAN_NAME,
    PLAN_SCHEMA,
    NetworkPlan,
    QuantizationPlan,
    read_plan,
    write_plan,
)
from echoexport.export.build.checks import NOT_CHECKED, check_bundle
from echoexport.export.build.fp16_graphs import (
    NOT_SETTLED,
    describe_settled,
    find_overflowing,
)
from echoexport.export.build.job import BundleJob, open_job
from echoexport.export.build.own_graphs import add_backend_graphs
from echoexport.export.build.parts import add_file, compose_bundle, part_of
from echoexport.export.build.progress import BuildProgress
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import (
    FloatBundles,
    check_networks,
    check_sources,
    float_bundles,
    found_set,
)
from echoexport.export.output_folder import written_aside
from echoexport.runtime.contract.manifest import Manifest, read_manifest, write_manifest
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import TargetSpec


def build_fp16_bundle(
    checkpoint: Path, output: Path, *, target: TargetSpec, settings: BuildSettings, report: Progress
) -> Manifest:
    """Build in fp32 and fp16, and keep in fp32 what fp16 would spoil.

    Every value of the fp32 networks is looked at for that. With ``settings.plan`` its
    nodes are taken, and nothing is looked at.

    Raises:
        CheckpointError, SettingError: the checkpoint or a setting that cannot be used.
        CalibrationError: a set or plan that is broken, empty, or of another checkpoint.
        GraphError: an input or output of a network is beyond fp16.
        OutputError: the output cannot be written.
    """
    job = open_job(checkpoint, target=target, settings=settings, report=report)
    check_sources(job)
    with ExitStack() as stack:
        floats = stack.enter_context(float_bundles(job, near=output))
        plan, progress = plan_overflows(floats, job)
        floats.settle(plan)
        folder = stack.enter_context(written_aside(output))
        manifest = _compose(floats, plan, folder, job=job)
        manifest = _prove(manifest, plan, folder, job=job)
    if progress is not None:
        progress.forget()
    return manifest


def plan_overflows(
    floats: FloatBundles, job: BundleJob
) -> tuple[QuantizationPlan, BuildProgress | None]:
    """Every network in fp16, with the nodes that overflow on the set, or that the plan names."""
    if job.settings.plan is not None:
        return _follow_plan(job.settings.plan, floats.manifest), None
    plans = {}
    with found_set(floats, job) as recorded:
        progress = BuildProgress(job.settings.progress, floats.manifest, recorded.digest)
        networks = floats.manifest.networks
        for index, name in enumerate(networks):
            job.report(f"{name}: values beyond fp16", index, len(networks))
            own = progress.of_network(name, "fp16")
            found = find_overflowing(floats.graph(name), recorded, progress=own, report=job.report)
            plans[name] = NetworkPlan("fp16", float32_nodes=tuple(one.node for one in found))
        plan = QuantizationPlan(PLAN_SCHEMA, "fp16, overflows in fp32", recorded.digest, plans)
    return plan, progress


def _follow_plan(path: Path, manifest: Manifest) -> QuantizationPlan:
    given = read_plan(path)
    check_networks(given, manifest)
    kept = {
        name: NetworkPlan("fp16", float32_nodes=one.float32_nodes)
        for name, one in given.networks.items()
    }
    return replace(given, networks=kept)


def _compose(
    floats: FloatBundles, plan: QuantizationPlan, folder: Path, *, job: BundleJob
) -> Manifest:
    """The settled networks, the plan and the graphs for single backends in ``folder``."""
    base = read_manifest(floats.base)
    parts = {name: part_of(floats.base, base, name) for name in base.networks}
    manifest = compose_bundle(parts, folder, base=base)
    write_plan(plan, folder / PLAN_NAME)
    manifest = add_backend_graphs(add_file(manifest, folder, PLAN_NAME), folder, job=job)
    write_manifest(manifest, folder)
    return manifest


def _prove(manifest: Manifest, plan: QuantizationPlan, folder: Path, *, job: BundleJob) -> Manifest:
    """Let the bundle prove itself, and note in its manifest how it did and what was looked for."""
    checked = check_bundle(
        folder,
        manifest,
        target=job.target,
        which=job.settings.check,
        tell=lambda what: job.report(what, 0, len(manifest.networks)),
    )
    made = manifest.provenance
    own = [note for note in made.notes if note not in (NOT_CHECKED, NOT_SETTLED)]
    looked = describe_settled(plan.networks) or [
        "no value beyond fp16's range was found on the calibration set"
    ]
    manifest = replace(manifest, provenance=replace(made, notes=(*own, *looked, *checked)))
    write_manifest(manifest, folder)
    return manifest

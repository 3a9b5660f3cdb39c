"""The build of an fp16 bundle with a calibration set or a plan.

What overflows on real activations stays in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from echoexport.calibration.plan import FILE_NAME as PLAN_FILE
from echoexport.calibration.plan import SCHEMA as PLAN_SCHEMA
from echoexport.calibration.plan import NetworkPlan, QuantizationPlan, read_plan, write_plan
from echoexport.export.build.checks import NOT_CHECKED, check_bundle
from echoexport.export.build.fp16_graphs import NOT_SETTLED, describe_settled, settle_bundle
from echoexport.export.build.int8_networks import (
    FloatBundles,
    check_networks,
    find_overflowing,
    float_bundles,
    found_set,
)
from echoexport.export.build.parts import add_file, compose_bundle, part_of
from echoexport.export.build.progress import BuildProgress
from echoexport.export.build.settings import BuildSettings
from echoexport.export.ort_cuda import add_own_graphs
from echoexport.export.output_folder import written_aside
from echoexport.runtime.contract.families.echomimic_v1 import NETWORKS
from echoexport.runtime.contract.manifest import Manifest, read_manifest, write_manifest
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import TargetSpec


def build_half_bundle(
    build: Callable[[Path, BuildSettings], Manifest],
    output: Path,
    *,
    target: TargetSpec,
    settings: BuildSettings,
    report: Progress,
) -> Manifest:
    """Build in fp32 and fp16, look at every value of the former, and keep in fp32 what the latter would spoil.

    ``build`` makes a float bundle of these settings in a folder. With ``settings.plan``
    its nodes are taken, and nothing is looked at.

    Raises:
        CalibrationError: a set or plan that is broken, empty, or of another checkpoint.
        GraphError: an input or output of a network is beyond fp16.
        OutputError: the output cannot be written.
    """
    with ExitStack() as stack:
        floats = stack.enter_context(
            float_bundles(build, settings=settings, target=target, near=output)
        )
        plan, progress = plan_half(floats, settings=settings, report=report)
        settle_bundle(floats.float32, floats.base, plan.networks)
        folder = stack.enter_context(written_aside(output))
        base = read_manifest(floats.base)
        manifest = compose_bundle(
            {name: part_of(floats.base, base, name) for name in NETWORKS}, folder, base=base
        )
        write_plan(plan, folder / PLAN_FILE)
        manifest = add_own_graphs(add_file(manifest, folder, PLAN_FILE), folder, target=target)
        write_manifest(manifest, folder)
        checked = check_bundle(
            folder,
            manifest,
            target=target,
            which=settings.check,
            tell=lambda what: report(what, 0, len(NETWORKS)),
        )
        own = [note for note in base.provenance.notes if note not in (NOT_CHECKED, NOT_SETTLED)]
        looked = describe_settled(plan.networks) or [
            "no value beyond fp16's range was found on the calibration set"
        ]
        made = replace(base.provenance, notes=(*own, *looked, *checked))
        manifest = replace(manifest, provenance=made)
        write_manifest(manifest, folder)
    if progress is not None:
        progress.forget()
    return manifest


def plan_half(
    floats: FloatBundles, *, settings: BuildSettings, report: Progress
) -> tuple[QuantizationPlan, BuildProgress | None]:
    """Every network in fp16, with the nodes that overflow on the set, or that the plan names."""
    if settings.plan is not None:
        given = read_plan(settings.plan)
        check_networks(given)
        kept = {
            name: NetworkPlan("fp16", float32_nodes=one.float32_nodes)
            for name, one in given.networks.items()
        }
        return replace(given, networks=kept), None
    plans = {}
    with found_set(floats, settings, report=report) as recorded:
        progress = BuildProgress(settings.progress, floats.manifest, recorded.digest)
        for index, name in enumerate(NETWORKS):
            report(f"{name}: values beyond fp16", index, len(NETWORKS))
            own = progress.of_network(name, "fp16")
            overflows = find_overflowing(floats.graph(name), recorded, progress=own, report=report)
            plans[name] = NetworkPlan(
                "fp16", float32_nodes=tuple(found.node for found in overflows)
            )
        return QuantizationPlan(
            PLAN_SCHEMA, "fp16, overflows in fp32", recorded.digest, plans
        ), progress

"""``echoexport verify`` and ``echoexport inspect``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from echoexport.export.cli.options import (
    FILE,
    backend_option,
    compute_option,
    warn_of_fallback,
    warn_of_notes,
)
from echoexport.export.cli.signing.options import describe_signers, signed_options
from echoexport.runtime.errors import BackendError, GraphError, SettingError

if TYPE_CHECKING:
    from echoexport.runtime.bundle.opened import Bundle
    from echoexport.runtime.contract.compiled import CompiledEngine
    from echoexport.runtime.contract.manifest import Manifest, QuantizationSummary


@click.command("verify")
@click.argument("bundle", type=FILE)
@backend_option
@compute_option
@click.option(
    "--network",
    "only",
    multiple=True,
    metavar="NAME",
    help="Self-test only this network; may be given again.",
)
@click.option("--files-only", is_flag=True, help="Hash the files and run nothing.")
@click.option(
    "--parser",
    is_flag=True,
    help="Let TensorRT-RTX parse and build each network (no GPU needed, much memory).",
)
@click.option(
    "--lint",
    is_flag=True,
    help="Hold each graph to our rules and to those of the target's TensorRT versions.",
)
@signed_options
def verify_command(
    bundle: Path,
    backend: str | None,
    compute: str,
    only: tuple[str, ...],
    files_only: bool,
    parser: bool,
    lint: bool,
) -> None:
    """Hash every file of a bundle anew and run each network on the arrays that travel with it."""
    from echoexport.runtime.bundle.files import check_files
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.bundle.signing import find_signers
    from echoexport.runtime.contract.manifest import read_manifest
    from echoexport.runtime.engine.protocol import EngineOptions

    manifest = read_manifest(bundle)
    if (parser or lint) and manifest.compiled is not None:
        option = "--parser" if parser else "--lint"
        portable = manifest.compiled.portable
        raise SettingError(
            f"{option}: {bundle} holds engines and no graphs; name the portable bundle {portable!r}"
        )
    for line in describe_signers(find_signers(bundle)):
        click.echo(line)
    count = sum(1 for _ in check_files(bundle, manifest))
    click.echo(f"{count} files as the manifest says")
    if lint:
        _run_lint(bundle, manifest, only or manifest.networks)
    if files_only:
        return
    with open_bundle(bundle, backend=backend, options=EngineOptions(compute)) as opened:
        warn_of_fallback(opened, asked=backend)
        failed = _run_self_tests(opened, only or opened.manifest.networks)
        warn_of_notes(opened.notes())
        if parser:
            _run_parser(
                opened.folder,
                [opened.manifest.networks[n].graph for n in only or opened.manifest.networks],
            )
    if failed:
        raise BackendError(
            f"{bundle}: {', '.join(failed)} failed; try another --backend, or build again"
        )


def _run_self_tests(opened: Bundle, networks: Iterable[str]) -> list[str]:
    """Run them, a line for each, and give those that failed."""
    failed = []
    for name in networks:
        result = opened.self_test(name)
        opened.close_network(name)  # one network in memory at a time
        word = "passed" if result.passed else "FAILED"
        click.echo(
            f"{name:19} {word}  error {result.error:.1e} of the maximum, "
            f"{result.tolerance:.0e} allowed ({opened.backend.name}, {result.precision})"
        )
        failed += [] if result.passed else [name]
    return failed


def _run_lint(folder: Path, manifest: Manifest, networks: Iterable[str]) -> None:
    from echoexport.export.graphs.bundle_lint import find_versions, lint_bundle

    versions = find_versions(manifest.target)
    broken = 0
    for name, findings in lint_bundle(folder, manifest, networks=networks, versions=versions):
        for finding in findings:
            click.echo(f"{name:19} {finding}")
        word = f"{len(findings)} broken rules" if findings else "keeps every rule"
        click.echo(f"{name:19} {word} (TensorRT {', '.join(versions)})")
        broken += len(findings)
    if broken:
        raise GraphError(f"{folder}: {broken} broken graph rules; build it again")


def _run_parser(folder: Path, graphs: list[str]) -> None:
    from echoexport.export.engines.tensorrt_rtx import check_network, require_installed

    require_installed()
    for graph in graphs:
        report = check_network(folder / graph)
        click.echo(
            f"{report.network:19} parsed in {report.parse_seconds:.1f} s, built in "
            f"{report.build_seconds:.1f} s, "
            f"engine {report.engine_bytes / 1e6:.1f} MB, peak {report.peak_bytes / 1e9:.1f} GB "
            f"(TensorRT-RTX {report.version}, measured)"
        )


@click.command("inspect")
@click.argument("bundle", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="The manifest itself.")
@click.option("--tensors", is_flag=True, help="Every input and output with its axes.")
def inspect_command(bundle: Path, as_json: bool, tensors: bool) -> None:
    """Show what is inside a bundle; no file but the manifest is read."""
    from echoexport.runtime.bundle.network import describe_axes
    from echoexport.runtime.contract.manifest import read_manifest
    from echoexport.runtime.contract.schema import dump

    manifest = read_manifest(bundle, to_run=False)
    if as_json:
        click.echo(json.dumps(dump(manifest), indent=1))
        return
    _print_settings(manifest)
    for name, entry in manifest.networks.items():
        engine = None if manifest.compiled is None else manifest.compiled.engines[name]
        size = sum(
            manifest.files[file].bytes
            for file in ((entry.weights,) if engine is None else engine.files)
        )
        compute = entry.compute if engine is None else engine.compute
        click.echo(
            f"  {name:19} {entry.parameters / 1e6:8.1f} M values {size / 1e6:8.1f} MB  "
            f"{entry.precision}"
            f"{'' if compute == 'fp32' else f', computed in {compute}'}  "
            f"opset {entry.opset}  {len(entry.inputs)} in, {len(entry.outputs)} out"
            f"{'' if engine is None else _describe_engine(engine)}"
        )
        for tensor in (*entry.inputs, *entry.outputs) if tensors else ():
            click.echo(
                f"      {'in ' if tensor in entry.inputs else 'out'} {tensor.name} "
                f"{describe_axes(tensor)}"
            )


def _describe_engine(engine: CompiledEngine) -> str:
    error = (
        "not tested yet"
        if engine.error is None
        else f"error {engine.error:.1e} of {engine.tolerance:.0e} allowed"
    )
    return f"  built in {engine.seconds:.1f} s, {error}"


def _describe_quantization(made: QuantizationSummary) -> str:
    wanted = "no budget" if made.budget_db is None else f"budget {made.budget_db:g} dB"
    reached = "not measured" if made.reached_db is None else f"reached {made.reached_db:.1f} dB"
    kept = f"layers in {made.plan}, set {made.calibration[:12]}"
    return f"ranges by {made.method}, {wanted}, {reached}; {kept}"


def _print_settings(manifest: Manifest) -> None:
    from echoexport.runtime.contract.settings import spell_steps

    picture = manifest.picture
    window = manifest.window
    sampler = manifest.sampler
    audio = manifest.audio
    made = manifest.provenance
    megabytes = sum(file.bytes for file in manifest.files.values()) / 1e6
    clamp = (
        "no clamp" if sampler.noise_clamp is None else f"noise clamped to {sampler.noise_clamp:g}"
    )
    shared = f", noise shared {100 * sampler.shared_noise:g} %" if sampler.shared_noise else ""
    live = "" if sampler.live_steps is None else f" ({sampler.live_steps} live)"
    rows = {
        "variant": f"{manifest.variant} (face: {manifest.face})",
        "target": f"{manifest.target} (backends: {', '.join(manifest.backends)})",
        "picture": f"{picture.width}x{picture.height} px, {manifest.precision}",
        "window": f"{window.frames} frames, {window.overlap} shared, moves {window.shift} a step",
        "sampler": f"{spell_steps(sampler.steps)}{live}, guidance {sampler.guidance:g}, "
        f"{clamp}{shared}",
        "audio": f"{audio.sample_rate} Hz, {audio.mels} mels, {audio.states} states",
        "made": f"{made.created} from {made.checkpoint}/ ({len(made.checkpoint_files)} files)",
        "tools": ", ".join(f"{name} {version}" for name, version in made.tools.items()),
        "files": f"{len(manifest.files)}, {megabytes:.0f} MB",
    }
    if manifest.compiled is not None:
        compiled = manifest.compiled
        rows["compiled"] = (
            f"{compiled.created} from {compiled.portable}/ for backend {compiled.backend}"
        )
        rows["fits"] = ", ".join(f"{key} {value}" for key, value in compiled.fingerprint.items())
    if manifest.quantization is not None:
        rows["int8"] = _describe_quantization(manifest.quantization)
    if manifest.quality is not None:
        rows["quality"] = f"report in {manifest.quality}"
    for name, text in rows.items():
        click.echo(f"{name:9} {text}")
    for note in made.notes:
        click.echo(f"{'note':9} {note}")
    click.echo("networks")

"""``echoexport compile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from echoexport.export.cli.options import FILE, ProgressLine, warn
from echoexport.export.cli.signing.options import (
    SIGNED_OPTIONS,
    load_key,
    sign_option,
    signed_options,
)
from echoexport.runtime.errors import SettingError

if TYPE_CHECKING:
    from echoexport.export.compile.bundle import CompileReport, CompileSettings
    from echoexport.export.engines import EngineSettings
    from echoexport.runtime.contract.manifest import Manifest
    from echoexport.targets.spec import TargetSpec

USUAL: dict[str, Any] = {
    "backend": "",
    "target": None,
    "workspace": None,
    "level": None,
    "best_of": None,
    "compute": "",
    "threads": 0,
    "cache_folder": None,
    "no_cache": False,
    "networks": (),
    "untested": False,
    "key_file": None,
}
"""What the options are where none is given."""


@click.command("compile")
@click.argument("bundle", type=FILE)
@click.option(
    "--output",
    "-o",
    type=FILE,
    metavar="DIR",
    help="The compiled bundle's folder; an older one there is kept as DIR.previous. Default: "
    "BUNDLE.compiled-BACKEND.",
)
@click.option(
    "--backend",
    default="",
    metavar="NAME",
    help="Whose engines. Default: the bundle's first that has some.",
)
@click.option(
    "--target",
    "-t",
    metavar="NAME",
    help="Refuse to go on where this machine is another; take its backend and settings.",
)
@click.option(
    "--workspace",
    type=float,
    metavar="GB",
    help="Scratch memory for the builder. Default: the target's.",
)
@click.option(
    "--level", type=click.IntRange(0, 5), metavar="N", help="The builder's optimization level."
)
@click.option(
    "--best-of",
    type=click.IntRange(1, 20),
    metavar="N",
    help="Build so often and keep the fastest.",
)
@click.option(
    "--compute",
    default="",
    metavar="NAME",
    help="Arithmetic in the engine: fp32, bf16. Default: the bundle's own.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="CPU threads.",
)
@click.option(
    "--cache",
    "cache_folder",
    type=FILE,
    metavar="DIR",
    help="Where engines are kept. Default: the user's cache folder.",
)
@click.option(
    "--no-cache",
    is_flag=True,
    help="Build every engine anew, and keep none but in the compiled bundle.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NAME",
    help="Compile this alone, for later; may be given again.",
)
@click.option(
    "--untested",
    is_flag=True,
    help="Keep engines that cannot run here; they are proved where they are first opened.",
)
@click.option(
    "--rollback",
    is_flag=True,
    help="BUNDLE is a compiled one: put back the one that was replaced last.",
)
@sign_option
@signed_options
@click.pass_context
def compile_command(
    context: click.Context, /, bundle: Path, rollback: bool, **options: Any
) -> None:
    """Build a bundle's engines on the machine that runs them, and prove each by its self-test.

    Needs neither torch nor onnx. Interrupted, it goes on where it was: finished engines are kept.

    \b
    Example:
      echoexport compile bundle/
      echoexport run bundle.compiled-tensorrt/ -p portrait.png -v voice.wav -o out.mp4
    """
    if rollback:
        from echoexport.export.compile.folder import roll_back

        if others := list_given(context) - {"--rollback", *SIGNED_OPTIONS}:
            named = ", ".join(sorted(others))
            raise SettingError(
                f"--rollback names the compiled bundle and takes no other option: {named}"
            )
        click.echo(f"{bundle}: rolled back to {describe_compiled(roll_back(bundle))}")
        return
    compile_now(bundle, options.pop("output"), settings=read_compile_settings(bundle, options))


def list_given(context: click.Context) -> set[str]:
    """The options that stand on the command line."""
    options = (one for one in context.command.params if isinstance(one, click.Option))
    given = ParameterSource.COMMANDLINE
    return {
        one.opts[0]
        for one in options
        if one.name and context.get_parameter_source(one.name) is given
    }


def compile_now(
    bundle: Path, output: Path | None, *, settings: CompileSettings, quiet: bool = False
) -> CompileReport:
    """Compile with progress, and tell what came of it; ``quiet`` leaves stdout alone."""
    from echoexport.export.compile.bundle import compile_bundle

    with ProgressLine("network") as progress:
        report = compile_bundle(bundle, output, settings=settings, report=progress, warn=warn)
    for line in describe_compilation(report):
        click.echo(line, err=quiet)
    return report


def read_compile_settings(bundle: Path, options: dict[str, Any]) -> CompileSettings:
    """The command line's options as settings.

    What is not given is the target's, of ``--target`` or of the bundle.

    A target of TensorRT-RTX has engines of no one machine, so it may be compiled for
    without a GPU to try them on.

    Raises:
        TargetMismatchError: this machine is not the ``--target``.
    """
    from echoexport.export.compile.bundle import CompileSettings
    from echoexport.runtime.files.cache_folders import find_cache_folder

    target = settle_target(bundle, options["target"])
    if target is not None and options["target"] is None:
        warn_of_another_machine(bundle, target, backend=options["backend"])
    usual = "" if target is None or options["target"] is None else target.backends.default
    cache = find_cache_folder("engines", given=options["cache_folder"])
    return CompileSettings(
        backend=options["backend"] or usual,
        compute=options["compute"],
        engine=settle_engine(target, options),
        networks=options["networks"],
        cache=None if options["no_cache"] else cache,
        untested=options["untested"] or usual == "tensorrt_rtx",
        key=None if options["key_file"] is None else load_key(options["key_file"]),
    )


def settle_target(bundle: Path, named: str | None) -> TargetSpec | None:
    """The target that was named, if this machine is it.

    Else the bundle's, if this release knows it.

    Raises:
        TargetMismatchError: this machine is another.
    """
    from echoexport.runtime.contract.manifest import read_manifest
    from echoexport.runtime.device import detect_device, require_target
    from echoexport.targets.spec import find_target, list_targets, load_target

    if named is None:
        own = read_manifest(bundle).target
        return load_target(own) if own in list_targets() else None
    spec = find_target(named)
    require_target(detect_device(), spec)
    return spec


def warn_of_another_machine(bundle: Path, target: TargetSpec, *, backend: str) -> None:
    """Say so where a GPU's engines are about to be built with another GPU's settings.

    Those are the settings of the bundle's target.
    """
    from echoexport.runtime.bundle.choice import needs_compiling
    from echoexport.runtime.device import detect_device, require_target
    from echoexport.runtime.errors import TargetMismatchError

    device = detect_device()
    if device.kind == "cpu" or not needs_compiling(backend or target.backends.default):
        return
    try:
        require_target(device, target)
    except TargetMismatchError:
        here = device.target or device.model or device.gpu or "another"
        remedy = f"; --target {device.target} takes this machine's" if device.target else ""
        warn(
            f"{bundle}: built for {target.name}, and this machine is {here}: its engines are "
            "built with the settings "
            f"of {target.name}{remedy}"
        )


def settle_engine(target: TargetSpec | None, options: dict[str, Any]) -> EngineSettings:
    """How engines are built: as the options say, else as the target does, else as the library will.

    Raises:
        SettingError: no workspace that could be.
    """
    from echoexport.export.engines import EngineSettings

    workspace = options["workspace"]
    level = options["level"]
    best_of = options["best_of"]
    if workspace is not None and not 0 < workspace < 1e6:
        raise SettingError(f"--workspace {workspace:g}: GB above 0 are wanted, e.g. 2 or 0.5")
    size = None if workspace is None else round(workspace * 1e9)
    usual = None if target is None else target.engine
    if usual is not None:
        size = usual.workspace_bytes if size is None else size
        level = usual.level.value if level is None else level
        best_of = usual.best_of.value if best_of is None else best_of
    return EngineSettings(
        workspace=size, level=level, best_of=best_of or 1, threads=options["threads"]
    )


def describe_compilation(report: CompileReport) -> list[str]:
    """A line for each engine with its measured figures, and one for the bundle."""
    lines = []
    for name, engine in report.engines.items():
        record = engine.record
        size = sum(file.bytes for file in record.files.values())
        proof = "not tested: it cannot run here"
        if record.error is not None:
            proof = f"error {record.error:.1e} of the maximum, {record.tolerance:.0e} allowed"
        built = "from the cache" if engine.cached else f"built in {record.seconds:.1f} s"
        peak = ""
        if record.peak_bytes is not None and not engine.cached:
            peak = f", peak {record.peak_bytes / 1e9:.1f} GB"
        lines.append(f"{name:19} {built}{peak}, {size / 1e6:.1f} MB, {record.precision}, {proof}")
        lines += [f"{'':19} note: {note}" for note in record.notes]
    if report.output is None:
        lines.append(
            f"not written yet, engines are missing of {', '.join(report.missing)}: compile "
            "these as well"
        )
    else:
        lines.append(f"{report.output}: {describe_compiled(report.manifest)}")
    return lines


def describe_compiled(manifest: Manifest) -> str:
    """One line: whose engines, for which machine, how large."""
    compiled = manifest.compiled
    if compiled is None:
        raise SettingError("not a compiled bundle")
    size = sum(
        manifest.files[file].bytes for engine in compiled.engines.values() for file in engine.files
    )
    made = compiled.fingerprint
    device = made.get("device", made.get("arch", ""))
    return (
        f"{len(compiled.engines)} engines for {made.get('library', compiled.backend)} "
        f"{made.get('version', '')} on "
        f"{device}, {size / 1e6:.0f} MB, compiled {compiled.created}"
    )

"""``echoexport compare``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.options import (
    FILE,
    ProgressLine,
    RateType,
    backend_option,
    compute_option,
    face_box_option,
    require_reports,
)
from echoexport.export.cli.signing.options import signed_options
from echoexport.runtime.errors import QualityError, SettingError

if TYPE_CHECKING:
    from echoexport.profiles.quality.clips import ComparisonClip
    from echoexport.profiles.quality.report import QualityReport
    from echoexport.runtime.contract.manifest import Manifest


@dataclass(frozen=True)
class ClipFiles:
    """What the clip is made of, as given."""

    portrait: Path | None
    voice: Path | None
    face_box: str | None
    poses: Path | None


@click.command("compare")
@click.argument("paths", type=FILE, nargs=-1, metavar="A B...")
@click.option(
    "--portrait",
    "-p",
    type=FILE,
    metavar="FILE",
    help="A picture of one face. Default: built-in clips.",
)
@click.option(
    "--voice", "-v", type=FILE, metavar="FILE", help="What is said; goes with --portrait."
)
@face_box_option
@click.option(
    "--poses",
    type=FILE,
    metavar="PATH",
    help="Landmarks or drawn pose maps, for the pose variants.",
)
@click.option("--steps", type=int, metavar="N", help="Sampling steps. Default: A's.")
@click.option("--fps", type=RateType(), metavar="FPS", help="Frames a second. Default: A's.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 600),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Of each clip, at most.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the noise.",
)
@click.option(
    "--quality",
    type=float,
    metavar="DB",
    help="Exit with 1 where B's frames have a lower PSNR than this.",
)
@click.option(
    "--fail-if",
    multiple=True,
    metavar="LIMIT",
    help="For reports: exit with 1 where it holds, e.g. 'p99>40ms', 'fps<25', "
    "'denoising_unet.p50>+5%'. Repeatable.",
)
@click.option(
    "--markdown",
    "markdown_file",
    type=FILE,
    metavar="FILE",
    help="For reports: write the tables here.",
)
@click.option(
    "--json", "json_file", type=FILE, metavar="FILE", help="Write the report here, as JSON."
)
@click.option(
    "--page",
    "page_file",
    type=FILE,
    metavar="FILE",
    help="Write the report here, as one HTML page.",
)
@backend_option
@compute_option
@signed_options
def compare_command(paths: tuple[Path, ...], **options: Any) -> None:
    """Compare bundle B with A on the same clips and noise, or reports with the first of them.

    Reports are those of echoexport profile, or those of echoexport load.

    \b
    Examples:
      echoexport compare fp32/ int8/ --quality 35 --page quality.html
      echoexport compare before/report.json after/report.json --fail-if "p99>40ms"
      echoexport compare load-before.json load-after.json --fail-if "first_frame.p95>600ms"
    """
    from echoexport.export.cli.comparisons.loads import are_loads, compare_load_files
    from echoexport.export.cli.comparisons.profiles import are_profiles, compare_profile_files

    profiles = are_profiles(paths)
    reports = {f"--{name}": options[f"{name}_file"] for name in ("json", "page", "markdown")}
    read = {str(path): path for path in paths} | {
        f"--{name}": options[name] for name in ("portrait", "voice", "poses")
    }
    require_reports(reports, others=read, bundles=[] if profiles else paths)
    if profiles:
        outputs = {name: options[name] for name in ("json_file", "page_file", "markdown_file")}
        compare = compare_load_files if are_loads(paths) else compare_profile_files
        compare(paths, fail_if=options["fail_if"], **outputs)
        return
    if options["fail_if"] or options["markdown_file"] is not None:
        raise SettingError(
            "--fail-if and --markdown are for profiles (report.json); for bundles there is "
            "--quality"
        )
    if len(paths) != 2:
        raise SettingError(f"{len(paths)} bundles: two are compared, A and B")
    _compare_bundles(*paths, options)


def _compare_bundles(reference: Path, candidate: Path, options: dict[str, Any]) -> None:
    from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
    from echoexport.profiles.quality.report import QualityBudget
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.engine.protocol import EngineOptions

    files = ClipFiles(
        **{name: options[name] for name in ("portrait", "voice", "face_box", "poses")}
    )
    require_pair(files)
    quality = options["quality"]
    if quality is not None and not 0 < quality <= 100:
        raise SettingError(f"--quality {quality:g}: dB above 0 and at most 100 are wanted")
    engine = EngineOptions(compute=options["compute"])
    settings = ComparisonSettings(
        steps=options["steps"],
        fps=options["fps"],
        seed=options["seed"],
        budget=QualityBudget(psnr=quality),
    )
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(open_bundle(folder, backend=options["backend"], options=engine))
            for folder in (reference, candidate)
        )
        fps = float(options["fps"] or one.manifest.fps)
        clips = find_clips(files, one.manifest, seconds=options["seconds"], fps=fps)
        progress = stack.enter_context(ProgressLine("clip", {"networks": "network"}))
        report = compare_bundles(one, other, clips, settings=settings, report=progress)
    _write(report, options["json_file"], options["page_file"])
    for line in describe_quality(report):
        click.echo(line)
    if not report.holds:
        raise QualityError(
            f"{candidate}: {'; '.join(report.misses)}; keep more layers in float, or ask for less"
        )


def require_pair(files: ClipFiles) -> None:
    """A portrait and a voice, or neither.

    Raises:
        SettingError: one without the other, or a face box or poses without them.
    """
    if (files.portrait is None) != (files.voice is None):
        raise SettingError(
            "--portrait and --voice go together; without both, built-in clips are compared"
        )
    if files.portrait is None and (files.face_box is not None or files.poses is not None):
        raise SettingError(
            "--face-box and --poses belong to a --portrait with a --voice: give both"
        )


def find_clips(
    files: ClipFiles, manifest: Manifest, *, seconds: float, fps: float
) -> list[ComparisonClip]:
    """The clip of the files, or the built-in ones.

    Raises InputError for a file that cannot be used.
    """
    if files.portrait is None or files.voice is None:
        from echoexport.export.demo.quality_clips import ClipSettings, list_quality_clips

        return list_quality_clips(manifest, ClipSettings(seconds=seconds), fps=fps)
    return [
        _read_clip(
            files.portrait,
            files.voice,
            files,
            manifest=manifest,
            frames=max(round(seconds * fps), 1),
        )
    ]


def describe_quality(report: QualityReport) -> Sequence[str]:
    """The verdict and a line for each network."""
    from echoexport.profiles.quality.report import describe_verdict
    from echoexport.profiles.quality.signals import describe_decibels

    head = report.headline
    lines = [
        describe_verdict(report),
        f"{'latents':18} {describe_decibels(head.latents_snr):>9}, worst clip "
        f"{describe_decibels(head.latents_snr_worst)}; worst frame {head.psnr_worst:.1f} dB, "
        f"SSIM {head.ssim_worst:.4f}",
    ]
    for network in report.networks:
        lines.append(
            f"{network.name:18} {describe_decibels(network.closeness.snr):>9}  "
            f"{network.size:5.2f} x the size  "
            f"{network.speed:5.2f} x as fast  {network.reference.precision} -> "
            f"{network.candidate.precision}"
        )
    lines += [
        f"{score.name:26} {score.candidate:.3f} ({score.difference:+.3f})" for score in head.scores
    ]
    return [*lines, *(f"note: {note}" for note in report.notes)]


def _read_clip(
    portrait: Path, voice: Path, files: ClipFiles, *, manifest: Manifest, frames: int
) -> ComparisonClip:
    from echoexport.profiles.quality.clips import ComparisonClip
    from echoexport.runtime.inputs.portrait import (
        crop_face,
        parse_face_box,
        read_portrait,
        whole_picture,
    )
    from echoexport.runtime.inputs.pose import read_poses
    from echoexport.runtime.inputs.voice import read_voice
    from echoexport.runtime.rendering.settings import RenderInputs

    size = (manifest.picture.width, manifest.picture.height)
    picture = read_portrait(portrait)
    sound = read_voice(voice)
    if files.face_box is None:
        crop = whole_picture(picture, size=size)
    else:
        crop = crop_face(picture, parse_face_box(files.face_box), size=size)
    poses = None if files.poses is None else read_poses(files.poses, size=size)
    return ComparisonClip(
        portrait.stem, RenderInputs(crop.picture, sound, mask=crop.mask, poses=poses), frames=frames
    )


def _write(report: QualityReport, json_file: Path | None, page_file: Path | None) -> None:
    from echoexport.profiles.pages.quality_page import format_quality_page
    from echoexport.profiles.quality.report import format_quality_json
    from echoexport.runtime.files.aside import write_whole

    if json_file is not None:
        write_whole(json_file, format_quality_json(report))
    if page_file is not None:
        write_whole(page_file, format_quality_page(report))

"""Whole clips on a fake GPU.

The same as ONNX Runtime's, with no more bytes moved than have to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import Bundle, RenderInputs, RenderSettings, Session, open_bundle
from echoexport.runtime.backends import load_backend
from echoexport.runtime.backends.tensorrt import TensorRTBackend
from echoexport.runtime.backends.tensorrt_rtx import TensorRTRTXBackend
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.engine.tensorrt_engine import TensorRTEngine
from echoexport.runtime.errors import BackendError, DeviceError
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.sampling.sampler import SamplingHooks

# two windows a step
STEPS = 2
FRAMES = 13
HOT = ("latents", "timestep_sinusoid", "audio_tokens", "reference_gate")
"""What is another at each call of the denoiser, as a pose's feature is too."""


def make_compiling(
    kind: type[TensorRTBackend], fakes: Any, folder: Path, version: str
) -> TensorRTBackend:
    """A backend that compiles at once what it opens, for a fake library.

    Engines list their outputs backwards.
    """

    class Compiling(kind):  # type: ignore[valid-type,misc]
        def __init__(self) -> None:
            super().__init__()
            self.engines: dict[str, TensorRTEngine] = {}

        def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> TensorRTEngine:
            names = [tensor.name for tensor in reversed(spec.outputs)]
            plan = fakes.write_plan(folder / f"{spec.name}.plan", graph, names, version=version)
            self.engines[spec.name] = self.open_engine(plan, spec, options)
            return self.engines[spec.name]

    return Compiling()


@pytest.fixture
def open_fake(
    fakes: Any, make_tensorrt: Callable[..., Any], tmp_path: Path
) -> Iterator[Callable[..., Bundle]]:
    """A function that opens a portable bundle on a fake TensorRT, with faults."""
    opened = []

    def run(folder: Path, version: str = "10.3", *faults: str) -> Bundle:
        make_tensorrt(version, *faults)
        kind = TensorRTRTXBackend if version.startswith("rtx") else TensorRTBackend
        backend = make_compiling(kind, fakes, tmp_path, version)
        opened.append(
            Bundle(folder, read_manifest(folder), backend=backend, options=EngineOptions())
        )
        return opened[-1]

    yield run
    for bundle in opened:
        bundle.close()


def inputs_of(bundle: Bundle) -> RenderInputs:
    generator = np.random.default_rng(3)
    height = bundle.manifest.picture.height
    width = bundle.manifest.picture.width
    picture = generator.integers(0, 200, (height, width, 3), np.uint8)
    voice = voice_from_samples(generator.uniform(-0.3, 0.3, 16000).astype(np.float32))
    return RenderInputs(picture, voice, mask=np.full((height, width), 255, np.uint8))


def sample(bundle: Bundle, *, session: Session | None = None, **settings: Any) -> np.ndarray:
    """A clip's latents."""
    plan = RenderSettings(**{"steps": STEPS, "frames": FRAMES, **settings})
    return (session or Session(bundle)).start(inputs_of(bundle), plan).latents


@pytest.fixture(scope="module")
def wanted(build_tiny: Callable[..., Path]) -> tuple[np.ndarray, np.ndarray]:
    """A clip's latents and the first frame by ONNX Runtime."""
    with open_bundle(build_tiny(), backend="ort", options=EngineOptions(threads=1)) as bundle:
        rendering = Session(bundle).start(
            inputs_of(bundle), RenderSettings(steps=STEPS, frames=FRAMES)
        )
        return rendering.latents, rendering.decode(rendering.sample(0))


def bytes_of(bundle: Bundle, *names: str) -> int:
    inputs = bundle.manifest.networks["denoising_unet"].inputs
    return sum(
        int(np.prod(t.shape)) * np.dtype(t.dtype).itemsize
        for t in inputs
        if not names or t.name in names
    )


def denoiser_of(bundle: Bundle) -> TensorRTEngine:
    return bundle.backend.engines["denoising_unet"]  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("version", ["10.3", "11.4", "rtx-1.7"])
def test_a_whole_clip_is_the_one_that_onnx_runtime_gives(
    build_tiny: Callable[..., Path],
    open_fake: Callable[..., Bundle],
    wanted: tuple[np.ndarray, np.ndarray],
    version: str,
) -> None:
    bundle = open_fake(build_tiny(), version)
    rendering = Session(bundle).render(
        inputs_of(bundle), RenderSettings(steps=STEPS, frames=FRAMES)
    )
    np.testing.assert_allclose(rendering.latents, wanted[0], rtol=0, atol=1e-5)
    first = next(iter(rendering)).astype(int)
    assert np.abs(first - wanted[1]).max() <= 1


def test_a_portraits_keys_and_values_are_copied_once_for_a_clip(
    build_tiny: Callable[..., Path], open_fake: Callable[..., Bundle]
) -> None:
    bundle = open_fake(build_tiny())
    uploaded: list[int] = []
    Session(bundle).render(
        inputs_of(bundle),
        RenderSettings(steps=STEPS, frames=FRAMES),
        hooks=SamplingHooks(
            on_call=lambda done, total: uploaded.append(denoiser_of(bundle).uploaded)
        ),
    )
    assert len(uploaded) >= 4
    assert uploaded[0] == bytes_of(bundle)
    assert set(np.diff(uploaded)) == {
        bytes_of(bundle, *HOT)
    }  # a still mask's feature too stays where it is
    # As many as of the velocity.
    assert denoiser_of(bundle).downloaded == len(uploaded) * bytes_of(bundle, "latents")


def test_a_face_that_changes_goes_up_at_every_call_and_the_portrait_does_not(
    build_tiny: Callable[..., Path], open_fake: Callable[..., Bundle]
) -> None:
    bundle = open_fake(build_tiny())
    network = bundle.network("denoising_unet")
    generator = np.random.default_rng(0)
    changing = (*HOT, "face_feature")
    given = {t.name: freeze(generator.random(t.shape, np.float32)) for t in network.spec.inputs}
    network(given)
    for _ in range(3):
        before = denoiser_of(bundle).uploaded
        network({**given, **{name: given[name].copy() for name in changing}})
        assert denoiser_of(bundle).uploaded - before == bytes_of(bundle, *changing)


def test_guidance_copies_no_portrait_again(
    build_tiny: Callable[..., Path], open_fake: Callable[..., Bundle]
) -> None:
    bundle = open_fake(build_tiny())
    sample(bundle, guidance=2.0, steps=1)
    engine = denoiser_of(bundle)
    assert engine.calls == 4
    assert engine.uploaded == bytes_of(bundle) + (engine.calls - 1) * bytes_of(
        bundle, *HOT, "face_feature"
    )


def test_a_second_clip_of_the_same_portrait_copies_it_not_again(
    build_tiny: Callable[..., Path], open_fake: Callable[..., Bundle]
) -> None:
    bundle = open_fake(build_tiny())
    session = Session(bundle, cache=ReferenceCache(None))
    sample(bundle, session=session, steps=1)
    engine = denoiser_of(bundle)
    before = engine.uploaded
    calls = engine.calls
    sample(bundle, session=session, steps=1)
    again = engine.uploaded - before
    assert again == (engine.calls - calls) * bytes_of(bundle, *HOT) + bytes_of(
        bundle, "face_feature"
    )


def test_every_network_passes_its_self_test(
    build_tiny: Callable[..., Path], open_fake: Callable[..., Bundle]
) -> None:
    bundle = open_fake(build_tiny())
    assert {
        name: bundle.self_test(name).passed for name in bundle.manifest.networks
    } == dict.fromkeys(bundle.manifest.networks, True)


def test_outputs_that_are_not_finite_fail_the_self_test(
    build_tiny: Callable[..., Path], open_fake: Callable[..., Bundle]
) -> None:
    result = open_fake(build_tiny(), "10.3", "not finite").self_test("denoising_unet")
    assert not result.passed
    assert result.error == float("inf")


def test_closing_a_bundle_leaves_nothing_on_the_device(
    build_tiny: Callable[..., Path], open_fake: Callable[..., Bundle], cuda: Any
) -> None:
    bundle = open_fake(build_tiny())
    sample(bundle, frames=1, steps=1)
    bundle.network("vae_decoder")  # which a thread may still be opening
    assert cuda.live["streams"] == len(bundle.backend.engines)  # type: ignore[attr-defined]
    bundle.close()
    assert cuda.live == {}


@pytest.fixture
def compile_fake(
    fakes: Any,
    make_tensorrt: Callable[..., Any],
    build_tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """A function that compiles the tiny bundle for the fake TensorRT.

    The builder only writes plans.
    """
    from echoexport.export.compile import network as compiled_network
    from echoexport.export.compile.bundle import CompileSettings, compile_bundle
    from echoexport.export.engines import BuiltEngine

    class Builder:
        REVISION = 1

        @staticmethod
        def build_engine(
            graph: Path, spec: SubnetSpec, output: Path, **settings: Any
        ) -> BuiltEngine:
            fakes.write_plan(output, graph, [tensor.name for tensor in spec.outputs])
            return BuiltEngine(0.0, output.stat().st_size, None)

    def run(*faults: str) -> Path:
        make_tensorrt("10.3", *faults)
        monkeypatch.setattr(compiled_network, "load_builder", lambda name: Builder)
        settings = CompileSettings(backend="tensorrt")
        report = compile_bundle(
            build_tiny(),
            tmp_path / "compiled",
            settings=settings,
            report=lambda *told: None,
            warn=lambda told: None,
        )
        assert report.output is not None
        return report.output

    return run


def test_a_compiled_bundle_renders_what_the_portable_one_does(
    compile_fake: Callable[..., Path], wanted: tuple[np.ndarray, np.ndarray]
) -> None:
    with open_bundle(compile_fake()) as compiled:
        assert compiled.backend.name == "tensorrt"
        np.testing.assert_allclose(sample(compiled), wanted[0], rtol=0, atol=1e-5)


def test_a_compiled_bundle_is_refused_by_another_version_with_both_and_the_fix(
    compile_fake: Callable[..., Path], make_tensorrt: Callable[..., Any]
) -> None:
    folder = compile_fake()
    make_tensorrt("10.16")
    with pytest.raises(
        BackendError, match=r"'10\.3\.0\.30' there, '10\.16\.2\.10' here.*echoexport compile "
    ):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("name", "capability", "words"),
    [
        ("Fake Nano", (8, 7), "device 'Fake Orin' there, 'Fake Nano' here"),
        ("Fake Orin", (8, 0), "'8.7' there, '8.0' here"),
    ],
    ids=["device", "compute capability"],
)
def test_a_compiled_bundle_is_refused_by_another_gpu(
    compile_fake: Callable[..., Path], cuda: Any, name: str, capability: tuple[int, int], words: str
) -> None:
    folder = compile_fake()
    cuda.device_name = name
    cuda.capability = capability
    with pytest.raises(BackendError, match=f"{words}.*echoexport compile "):
        open_bundle(folder)


def test_engines_that_compute_nonsense_are_not_installed(
    compile_fake: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(
        BackendError,
        match=r"output '\w+' of the tensorrt engine .* is off by inf .*: not installed",
    ):
        compile_fake("not finite")
    assert not (tmp_path / "compiled").exists()


def test_a_compiled_engine_that_finds_no_memory_is_not_said_to_need_compiling(
    compile_fake: Callable[..., Path], cuda: Any
) -> None:
    with open_bundle(compile_fake()) as compiled:
        cuda.memory = 1 << 12
        with pytest.raises(
            DeviceError, match=r"vae_decoder: CUDA: cudaMalloc .* close other programs"
        ) as caught:
            compiled.network("vae_decoder")
    assert "compile" not in str(caught.value)


def test_an_uncompiled_bundle_says_to_compile_it_first(
    build_tiny: Callable[..., Path], make_tensorrt: Callable[..., Any]
) -> None:
    make_tensorrt("10.3")
    folder = build_tiny()
    with (
        open_bundle(folder, backend="tensorrt") as bundle,
        pytest.raises(
            BackendError, match=rf"compile first: echoexport compile {folder} --backend tensorrt"
        ),
    ):
        bundle.network("vae_decoder")
    assert load_backend("tensorrt").unavailable() is None

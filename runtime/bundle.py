"""An opened bundle: its manifest, its files checked against it, and its networks on a backend."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from echoexport.runtime.backends import Backend, EngineOptions, load_backend
from echoexport.runtime.errors import BackendError, BundleError, UnknownNameError
from echoexport.runtime.manifest import FILE_NAME, Manifest, NetworkEntry, read_manifest
from echoexport.runtime.network import Network, compare_outputs
from echoexport.runtime.spec import SubnetSpec

_BLOCK = 1 << 22


@dataclass(frozen=True)
class SelfTestResult:
    """How one network did on its own golden arrays; ``error`` is relative to each output's largest value."""

    network: str
    precision: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


def open_bundle(folder: str | Path, *, backend: str | None = None, options: EngineOptions | None = None) -> Bundle:
    """Open a bundle. Every file is looked at now; a network's files are hashed when it is first used.

    ``backend`` None takes the first of the manifest's backends that works on this machine.

    Raises:
        BundleError: the manifest is not valid, or a file is missing, a link, or of the wrong size.
        UnknownNameError: no such backend.
        BackendError: the backend (or each one that the manifest names) does not work here; says why.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name in manifest.files:
        check_file(folder, name, manifest=manifest)
    chosen = _choose_backend(manifest) if backend is None else _require_backend(backend)
    return Bundle(folder, manifest, backend=chosen, options=options or EngineOptions())


class Bundle:
    """Gives networks by name. A context manager; closing it closes every network it opened."""

    def __init__(self, folder: Path, manifest: Manifest, *, backend: Backend, options: EngineOptions) -> None:
        self.folder = folder
        self.manifest = manifest
        self.backend = backend
        self.options = options
        self._networks: dict[str, Network] = {}

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def network(self, name: str) -> Network:
        """The network called ``name``, opened on first use; call it with a mapping of named arrays.

        Raises:
            UnknownNameError: no such network.
            BundleError: its files are not what the manifest says.
            BackendError: it does not open, or computes in bf16 and fails its self-test.
        """
        if name not in self._networks:
            self._networks[name] = self._open(name)
        return self._networks[name]

    def calls(self) -> dict[str, int]:
        """How often each network has run since the bundle was opened."""
        return {name: self._networks[name].calls if name in self._networks else 0 for name in self.manifest.networks}

    def identity(self, *names: str) -> str:
        """What these networks' results depend on: their files, the backend and its arithmetic."""
        entries = [self.manifest.networks[name] for name in names]
        hashes = [self.manifest.files[file].sha256 for entry in entries for file in (entry.graph, entry.weights)]
        return "/".join([*hashes, self.backend.describe(), self.options.compute])

    def check_files(self) -> Iterator[str]:
        """Hash every file anew, giving each name as it passes.

        Raises:
            BundleError: a file is not what the manifest says, or is in the folder but not in the manifest.
        """
        present = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir()}
        for name in sorted(present - {FILE_NAME, *self.manifest.files}):
            raise BundleError(f"{self.folder / name}: not in the manifest; remove it")
        for name in self.manifest.files:
            check_file(self.folder, name, manifest=self.manifest)
            check_hash(self.folder, name, manifest=self.manifest)
            yield name

    def self_test(self, name: str) -> SelfTestResult:
        """Run a network on the arrays that travel with it."""
        network, entry = self.network(name), self.manifest.networks[name]
        return run_self_test(network, entry, folder=self.folder)

    def close_network(self, name: str) -> None:
        """Give one network's memory back; it opens again when it is used again."""
        network = self._networks.pop(name, None)
        if network is not None:
            network.close()

    def close(self) -> None:
        """Close every network."""
        for name in list(self._networks):
            self.close_network(name)

    def _open(self, name: str) -> Network:
        if name not in self.manifest.networks:
            raise UnknownNameError("network", name, known=self.manifest.networks)
        entry = self.manifest.networks[name]
        for file in (entry.graph, entry.weights):
            check_hash(self.folder, file, manifest=self.manifest)
        spec = SubnetSpec(name, entry.inputs, entry.outputs, entry.tolerances)
        network = Network(spec, self.backend.open(self.folder / entry.graph, spec, self.options))
        if network.precision == "bf16":  # some fused bf16 attention kernels have been wrong, not merely coarse
            result = run_self_test(network, entry, folder=self.folder)
            if not result.passed:
                network.close()
                raise BackendError(
                    f"{name}: bf16 on this machine is wrong by {result.error:.2g} of the maximum "
                    f"(at most {result.tolerance:.2g} is allowed); use compute fp32"
                )
            network.calls, network.seconds = 0, 0.0
        return network


def run_self_test(network: Network, entry: NetworkEntry, *, folder: Path) -> SelfTestResult:
    """Compare a network with the golden arrays in the bundle."""
    with np.load(folder / entry.self_test, allow_pickle=False) as arrays:
        inputs = {name.removeprefix("input."): arrays[name] for name in arrays.files if name.startswith("input.")}
        wanted = {name.removeprefix("output."): arrays[name] for name in arrays.files if name.startswith("output.")}
    error = compare_outputs(network(inputs), wanted)
    return SelfTestResult(network.spec.name, network.precision, error, entry.tolerances[network.precision])


def check_file(folder: Path, name: str, *, manifest: Manifest) -> None:
    """A plain file of the right size, reached through no link.

    Raises:
        BundleError: it is not.
    """
    path = folder
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            raise BundleError(f"{path}: is a symbolic link; a bundle holds plain files")
    if not path.is_file():
        raise BundleError(f"{path}: missing; build or copy the bundle again")
    wanted, found = manifest.files[name].bytes, path.stat().st_size
    if wanted != found:
        raise BundleError(f"{path}: {found} bytes, the manifest says {wanted}; build or copy the bundle again")


def check_hash(folder: Path, name: str, *, manifest: Manifest) -> None:
    """A file's sha256 against the manifest's.

    Raises:
        BundleError: they differ.
    """
    wanted, found = manifest.files[name].sha256, hash_file(folder / name)
    if wanted != found:
        raise BundleError(f"{folder / name}: sha256 is {found}, the manifest says {wanted}; build or copy it again")


def hash_file(path: Path) -> str:
    """sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _require_backend(name: str) -> Backend:
    backend = load_backend(name)
    reason = backend.unavailable()
    if reason is not None:
        raise BackendError(f"backend {name!r} does not work here: {reason}")
    return backend


def _choose_backend(manifest: Manifest) -> Backend:
    reasons = []
    for name in manifest.backends:
        backend = load_backend(name)
        reason = backend.unavailable()
        if reason is None:
            return backend
        reasons.append(f"{name}: {reason}")
    raise BackendError(f"no backend of this bundle works here: {'; '.join(reasons)}")

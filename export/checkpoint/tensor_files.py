"""Weight files as lazily read tensors: ``.safetensors``, and what ``torch.save`` writes.

What a file is, its first bytes say, not its name. Nothing is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from echoexport.export.checkpoint.first_bytes import find_container
from echoexport.export.checkpoint.safetensors_file import read_safetensors
from echoexport.export.checkpoint.stored_tensor import StoredTensor
from echoexport.export.checkpoint.torch_file import TorchFile, read_torch_file
from echoexport.export.checkpoint.torch_pickle import PickledTensor
from echoexport.runtime.errors import CheckpointError

__all__ = ["StoredTensor", "TensorFile", "open_tensor_file"]

_WRAPPERS = (
    "model_state_dict",
    "state_dict",
    "params_ema",
    "ema",
    "model",
    "unet",
    "module",
    "params",
)
"""Under what trainers keep the table, best first: an average over the training is what
is to be used where there is one."""
_PREFIXES = ("module.", "model.", "unet.", "ema.")
"""What trainers put before every key."""
_INSIDE = "_orig_mod."
"""What ``torch.compile`` puts before the keys of a module, wherever it is."""
_MOST_WRAPPED = 3
_LONGEST_TEXT = 80


class TensorFile(Mapping[str, StoredTensor]):
    """The tensors of one file by key, and ``extras``: what else it holds (Whisper's ``dims``)."""

    def __init__(
        self,
        path: Path,
        tensors: dict[str, StoredTensor],
        *,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.extras = dict(extras or {})
        self._tensors = tensors

    def __getitem__(self, key: str) -> StoredTensor:
        return self._tensors[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def renamed(self, names: Mapping[str, str]) -> TensorFile:
        """The same file under other keys; ``names`` maps stored key to wanted key, others stay."""
        return TensorFile(
            self.path,
            {names.get(key, key): tensor for key, tensor in self._tensors.items()},
            extras=self.extras,
        )


def open_tensor_file(path: Path) -> TensorFile:
    """Read a file's table of tensors, not their values.

    Keys lose what trainers put before all of them: ``module.``, ``_orig_mod.``.

    Raises:
        CheckpointError: the file is missing, truncated, not a weight file, or a pickle
            that wants to run code.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    container = find_container(path)
    if container == "safetensors":
        found = TensorFile(path, read_safetensors(path))
    else:
        found = _open_torch(read_torch_file(path, old=container == "pickle"))
    return found.renamed(shorten_keys(found))


def shorten_keys(keys: Mapping[str, Any]) -> dict[str, str]:
    """Keys without what trainers put before them, by key; none where two would be one."""
    names = {key: key.replace(_INSIDE, "") for key in keys}
    while names:
        common = [p for p in _PREFIXES if all(name.startswith(p) for name in names.values())]
        if not common:
            break
        names = {key: name.removeprefix(common[0]) for key, name in names.items()}
    return names if len(set(names.values())) == len(names) else {}


def _open_torch(file: TorchFile) -> TensorFile:
    if not isinstance(file.contents, dict):
        kind = type(file.contents).__name__.replace("PickledTensor", "Tensor")
        raise CheckpointError(f"{file.path}: holds a {kind}; a state dict is wanted")
    table, extras = _unwrap(file.contents)
    tensors = {key: value for key, value in table.items() if isinstance(value, PickledTensor)}
    if not tensors:
        raise CheckpointError(f"{file.path}: holds no tensors; a state dict is wanted")
    stored = {
        _check_key(file.path, key): file.locate(key, tensor) for key, tensor in tensors.items()
    }
    return TensorFile(file.path, stored, extras=extras)


def _unwrap(contents: dict[Any, Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The table of tensors, and the plain values that lie beside it."""
    table = contents
    extras: dict[str, Any] = {}
    for _ in range(_MOST_WRAPPED):
        found = [key for key in _WRAPPERS if _is_table(table.get(key))]
        if not found or any(isinstance(value, PickledTensor) for value in table.values()):
            break
        extras |= {key: _keep_plain(value) for key, value in table.items() if key != found[0]}
        table = table[found[0]]
    return table, extras


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _keep_plain(value: Any) -> Any:
    """A number or a short text, or a dictionary of such; None in place of anything else.

    What is nested otherwise may be small in the file and endless when it is printed.
    """
    if isinstance(value, dict):
        return {key: _keep_value(item) for key, item in value.items() if isinstance(key, str)}
    return _keep_value(value)


def _keep_value(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    number = isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 1 << 63)
    return value if number else None


def _check_key(path: Path, key: Any) -> str:
    if not isinstance(key, str):
        raise CheckpointError(
            f"{path}: holds a tensor under {key!r}; names are wanted, as in a state dict"
        )
    return key

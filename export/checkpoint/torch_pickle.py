"""The pickle inside a file of ``torch.save``, read without running or importing what it names.

What it may name are tensors, the storages they lie in, and plain Python values. The memory
and the time that reading takes are bounded by the pickle's length, whatever it says.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

__all__ = ["LARGEST_PICKLE", "PickledTensor", "Storage", "TensorUnpickler", "UnwantedNameError"]

LARGEST_PICKLE = 1 << 23  # bytes; those of this family have some 100 KB
_MOST_AXES = 16
_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
}
_KEYS = (str, int, float, bytes, type(None))


class UnwantedNameError(pickle.UnpicklingError):
    """A class or function that no table of tensors needs."""


@dataclass(frozen=True)
class Storage:
    """A run of values in the file."""

    key: str
    """Its name in the file."""
    dtype: str
    """As NumPy calls it, or as torch does where NumPy has no word."""
    count: int
    """Of values; of bytes where the storage has no dtype of its own."""


@dataclass(frozen=True)
class PickledTensor:
    """A tensor as the pickle describes it."""

    storage: Storage
    dtype: str
    """Of the tensor, which is the storage's where that has one."""
    offset: int
    """Of the first value in the storage, in values."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In values."""


class BoundedReader:
    """A file of which at most so many bytes are read, whatever is asked for."""

    def __init__(self, file: BinaryIO, limit: int = LARGEST_PICKLE) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int) -> bytes:
        """Like a file's."""
        return self._spend(self._file.read(max(0, min(size, self._left))), size)

    def readline(self) -> bytes:
        """Like a file's."""
        return self._spend(self._file.readline(self._left), 1)

    def _spend(self, data: bytes, wanted: int) -> bytes:
        self._left -= len(data)
        if not self._left and wanted:
            raise pickle.UnpicklingError(f"a pickle of more than {LARGEST_PICKLE} bytes")
        return data


# In Python, for two reasons: the library's C one takes memory for as many entries as a
# pickle claims, and lets nobody look at the keys of a dictionary before it hashes them.
class TensorUnpickler(pickle._Unpickler):
    """Gives dictionaries, lists and plain values, with a :class:`PickledTensor` for a tensor."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    """The library's own: what was read and not yet used."""
    pop_mark: Callable[[], list[Any]]
    """The library's own: what was read since the last mark."""

    def __init__(self, file: BinaryIO, *, limit: int = LARGEST_PICKLE) -> None:
        super().__init__(BoundedReader(file, limit), encoding="utf-8", errors="replace")
        self.storages: dict[str, Storage] = {}
        """Those that the pickle named, by key."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name in a pickle: never the thing itself.

        Raises:
            UnwantedNameError: no table of tensors needs it.
        """
        if module in ("torch", "torch.storage"):
            if name.endswith("Storage") and name.removesuffix("Storage") in _STORAGES:
                return _StorageKind(_STORAGES[name.removesuffix("Storage")])
            if name in ("UntypedStorage", "_UntypedStorage"):
                return _StorageKind("")
            if name in _DTYPES:
                return _StorageKind(name)
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        raise UnwantedNameError(f"{module[:80]}.{name[:80]}")

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a pickle names."""
        match pid:
            case ("storage", _StorageKind(dtype), str(key), _, int(count), *rest):
                pass
            case _:
                raise pickle.UnpicklingError("a reference to something that is no storage")
        if rest not in ([], [None]):
            raise pickle.UnpicklingError("a storage that is a part of another")
        storage = Storage(key, dtype or "uint8", count)
        if count < 0 or self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {key[:80]!r} of {count} values, or of two kinds")
        return storage

    def load_reduce(self) -> None:
        """Call one of our stand-ins; nothing else can be called."""
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _StandIn):
            raise pickle.UnpicklingError("a call of something that is no function")
        self.stack[-1] = function.make(*arguments)

    def load_build(self) -> None:
        """Leave out an object's attributes, such as the versions of a state dict's modules."""
        self.stack.pop()

    def load_setitem(self) -> None:
        """Set one item of a dictionary."""
        value = self.stack.pop()
        key = self.stack.pop()
        _set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        """Set items of a dictionary."""
        items = self.pop_mark()
        _set_items(self.stack[-1], items)

    def refuse(self) -> None:
        """What no file of ``torch.save`` has: objects of classes, sets, buffers."""
        raise pickle.UnpicklingError("an operation that no table of tensors needs")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    for _code in (
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.ADDITEMS),
        *(pickle.FROZENSET, pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4),
    ):
        dispatch[_code[0]] = refuse


@dataclass(frozen=True)
class _StorageKind:
    """The dtype of a storage or a tensor, "" where a storage has none."""

    dtype: str


@dataclass(frozen=True)
class _StandIn:
    """What takes a function's place, and is called with the pickle's arguments."""

    make: Callable[..., Any]


def _set_items(target: Any, items: list[Any]) -> None:
    """By keys of plain kinds: a key of tuples in tuples can take for ever to hash."""
    if type(target) is not dict:
        raise pickle.UnpicklingError("items of something that is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, _KEYS):
            raise pickle.UnpicklingError(f"a {type(key).__name__} for a key")
        target[key] = value


def _make_dictionary(*arguments: Any) -> dict[Any, Any]:
    """An ordered one; old releases give its items as a list of pairs, once."""
    made: dict[Any, Any] = {}
    for pairs in arguments[:1]:
        if not isinstance(pairs, list):
            raise pickle.UnpicklingError("a dictionary of something that is no list")
        _set_items(made, [item for pair in pairs for item in _take_pair(pair)])
        pairs.clear()  # so that a list cannot be used again and again
    return made


def _take_pair(pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise pickle.UnpicklingError("an item that is no pair")
    return pair[0], pair[1]


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> PickledTensor:
    """Raises ``UnpicklingError`` where the numbers make no sense."""
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise pickle.UnpicklingError("a tensor whose shape is no tuple")
    numbers = (offset, *shape[: _MOST_AXES + 1], *strides[: _MOST_AXES + 1])
    if not len(shape) == len(strides) <= _MOST_AXES or not all(
        type(number) is int and 0 <= number < 1 << 63 for number in numbers
    ):
        raise pickle.UnpicklingError("a tensor whose shape, strides or offset make no sense")
    return PickledTensor(storage, storage.dtype, offset, shape, strides)


def _make_typed_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
) -> PickledTensor:
    """A tensor whose storage has no dtype: the last but one of the arguments is it."""
    found = _make_tensor(storage, offset, shape, strides)
    kind = rest[2] if len(rest) > 2 else None
    if not isinstance(kind, _StorageKind):
        raise pickle.UnpicklingError("a tensor without a dtype")
    return PickledTensor(found.storage, kind.dtype, offset, shape, strides)


def _make_parameter(data: Any, *rest: Any) -> Any:
    if not isinstance(data, PickledTensor):
        raise pickle.UnpicklingError("a parameter that is no tensor")
    return data


def _make_subclass(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    if not isinstance(function, _StandIn) or not isinstance(arguments, tuple):
        raise pickle.UnpicklingError("a tensor made in an unknown way")
    return function.make(*arguments)


def _make_shape(sides: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sides, (list, tuple)) or len(sides) > _MOST_AXES:
        raise pickle.UnpicklingError("a shape of too many axes")
    return tuple(sides)


def _make_device(*arguments: Any) -> str:
    return "cpu"


def _make_bytes(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1" or len(text) > 64:
        raise pickle.UnpicklingError("bytes in another encoding, or too many")
    return text.encode("latin-1")


_DTYPES = (
    *("float64", "double", "float32", "float", "float16", "half", "bfloat16"),
    *("int64", "long", "int32", "int", "int16", "short", "int8", "uint8", "bool"),
    *("uint16", "uint32", "uint64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
    "float4_e2m1fn_x2",
)
_STAND_INS: Mapping[tuple[str, str], _StandIn] = {
    ("collections", "OrderedDict"): _StandIn(_make_dictionary),
    ("_codecs", "encode"): _StandIn(_make_bytes),
    ("torch", "Size"): _StandIn(_make_shape),
    ("torch", "device"): _StandIn(_make_device),
    ("torch", "Tensor"): _StandIn(_make_parameter),
    ("torch._utils", "_rebuild_tensor"): _StandIn(_make_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_make_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _StandIn(_make_typed_tensor),
    ("torch._utils", "_rebuild_parameter"): _StandIn(_make_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _StandIn(_make_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): _StandIn(_make_subclass),
    ("torch.nn.parameter", "Parameter"): _StandIn(_make_parameter),
}

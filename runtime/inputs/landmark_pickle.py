"""Reads a numpy array out of a pickle without unpickling: nothing in the file can run or grow."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from echoexport.runtime.errors import PoseError

__all__ = ["read_pickled_array"]

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): "empty array",
    ("numpy._core.multiarray", "_reconstruct"): "empty array",
    ("numpy.core.numeric", "_frombuffer"): "whole array",
    ("numpy._core.numeric", "_frombuffer"): "whole array",
    ("numpy", "ndarray"): "array class",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",  # how protocol 2 writes bytes
}
_DTYPE = re.compile(r"[a-zA-Z?][0-9]{0,4}")
_MARK = object()
_OUTSIDE = ("PERSID", "BINPERSID", "NEXT_BUFFER")
_SILENT = ("PROTO", "FRAME", "STOP", "READONLY_BUFFER")
_CONTAINERS: dict[str, Callable[[], Any]] = {"LIST": list, "EMPTY_LIST": list}
_CONTAINERS |= {"DICT": dict, "EMPTY_DICT": dict, "EMPTY_SET": set}
_FILLERS = ("APPENDS", "SETITEMS", "ADDITEMS")


@dataclass
class _Named:
    """A function or class that the file names."""

    role: str


@dataclass
class _Building:
    """An array or dtype that a later instruction completes."""

    dtype: np.dtype[Any] | None = None
    array: npt.NDArray[Any] | None = None


@dataclass
class _Machine:
    """The state of a pickle's stack machine."""

    name: str
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop_marked(self) -> list[Any]:
        """All above the last mark, which goes too."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def pop(self, count: int) -> list[Any]:
        """The last so many, first the deepest."""
        found = self.stack[len(self.stack) - count :]
        if len(found) != count:
            raise ValueError("its stack is empty")
        del self.stack[len(self.stack) - count :]
        return found


def read_pickled_array(content: bytes, *, name: str) -> npt.NDArray[Any]:
    """The array that a pickle of any protocol holds, if it holds nothing else.

    The instructions that an array needs are carried out here, and all others are
    refused; memory and time are bounded by the length of ``content``.

    Raises:
        PoseError: calls the file ``name``; it wants code, is broken, or holds something
            else.
    """
    try:
        found = _run(_Machine(name), content)
    except PoseError:
        raise
    except Exception as error:  # a broken pickle raises whatever its bytes happen to spell
        raise PoseError(f"{name} is not a readable pickle of landmarks: {error}") from error
    if isinstance(found, _Building) and found.array is not None:
        return found.array
    kind = "class or dtype" if isinstance(found, (_Named, _Building)) else type(found).__name__
    raise PoseError(f"{name}: wanted an array of landmarks, found a {kind}")


def _run(machine: _Machine, content: bytes) -> Any:
    for opcode, value, _ in pickletools.genops(content):
        _step(machine, opcode.name, value)
    return machine.stack[-1]


def _step(machine: _Machine, opcode: str, value: Any) -> None:
    stack = machine.stack
    if opcode in _SILENT:
        return
    if opcode in _OUTSIDE:
        raise PoseError(f"{machine.name} is refused: it refers to data outside the file")
    if opcode in ("GLOBAL", "INST"):
        stack.append(_name_global(machine, *str(value).split(" ", 1)))
    elif opcode == "STACK_GLOBAL":
        stack.append(_name_global(machine, *machine.pop(2)))
    elif opcode == "REDUCE":
        stack.append(_call(*machine.pop(2)))
    elif opcode == "BUILD":
        (state,) = machine.pop(1)
        _complete(stack[-1], state)
    elif opcode == "MARK":
        stack.append(_MARK)
    elif opcode in ("POP", "POP_MARK", "APPEND", "SETITEM", *_FILLERS):
        _fill(machine, opcode)
    elif not _step_memo(machine, opcode, value):
        stack.append(_make_value(machine, opcode, value))


def _fill(machine: _Machine, opcode: str) -> None:
    """Take from the stack what is put into a container; lists alone keep it."""
    if opcode in _FILLERS or opcode == "POP_MARK":
        items = machine.pop_marked()
    else:
        items = machine.pop(2 if opcode == "SETITEM" else 1)
    if opcode.startswith("APPEND") and isinstance(machine.stack[-1], list):
        machine.stack[-1].extend(items)


def _step_memo(machine: _Machine, opcode: str, value: Any) -> bool:
    """Whether the instruction was one of the memo's."""
    if opcode == "MEMOIZE":
        machine.memo[len(machine.memo)] = machine.stack[-1]
    elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
        machine.memo[value] = machine.stack[-1]
    elif opcode in ("GET", "BINGET", "LONG_BINGET"):
        machine.stack.append(machine.memo[value])
    else:
        return False
    return True


def _make_value(machine: _Machine, opcode: str, value: Any) -> Any:
    """A plain value, a tuple, or an empty container."""
    if opcode in ("TUPLE1", "TUPLE2", "TUPLE3"):
        return tuple(machine.pop(int(opcode[-1])))
    if opcode == "TUPLE":
        return tuple(machine.pop_marked())
    if opcode in ("LIST", "DICT"):
        machine.pop_marked()
    if opcode in _CONTAINERS:
        return _CONTAINERS[opcode]()
    constants = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
    if opcode in constants:
        return constants[opcode]
    if value is None:
        raise PoseError(f"{machine.name} is refused: no landmarks need {opcode}")
    return value


def _name_global(machine: _Machine, module: Any, name: Any) -> _Named:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name that is no text")
    role = _ALLOWED.get((module, name))
    if role is None:
        raise PoseError(
            f"{machine.name} is refused: it wants to load {module}.{name}, which no landmarks need"
        )
    return _Named(role)


def _call(function: _Named, arguments: tuple[Any, ...]) -> Any:
    if function.role == "encode":
        text, encoding = arguments
        if encoding not in ("latin1", "latin-1"):
            raise ValueError("bytes in an encoding that is not latin-1")
        return text.encode("latin-1")
    if function.role == "dtype":
        return _Building(dtype=_make_dtype(arguments[0]))
    if function.role == "empty array":
        return _Building()
    if function.role == "whole array":
        content, dtype, shape, order = arguments
        return _Building(array=_make_array(content, dtype.dtype, shape, order=order))
    raise ValueError(f"a call of an {function.role}")


def _complete(target: _Building, state: tuple[Any, ...]) -> None:
    if target.dtype is not None:
        order, fields = state[1], state[3]
        if order not in ("<", ">", "|", "=") or fields is not None:
            raise ValueError("a dtype that is no number's")
        target.dtype = target.dtype.newbyteorder("=" if order == "|" else order)
        return
    _, shape, dtype, by_columns, content = state
    order = "F" if by_columns else "C"
    target.array = _make_array(content, dtype.dtype, shape, order=order)


def _make_dtype(text: Any) -> np.dtype[Any]:
    text = text.decode("ascii") if isinstance(text, bytes) else text
    if not isinstance(text, str) or _DTYPE.fullmatch(text) is None:
        raise ValueError("a dtype that is no number's")
    return np.dtype(text)


def _make_array(content: Any, dtype: np.dtype[Any], shape: Any, *, order: str) -> npt.NDArray[Any]:
    """An array of exactly the values that the file holds."""
    if dtype.hasobject:
        found = np.empty(len(content), object)
    elif isinstance(content, str):  # Python 2 wrote bytes as text
        found = np.frombuffer(content.encode("latin-1"), dtype)
    else:
        found = np.frombuffer(content, dtype)
    sides = tuple(int(side) for side in shape)
    if any(side < 0 for side in sides) or order not in ("C", "F"):
        raise ValueError(f"shape {sides}")
    return found.reshape(sides, order="F" if order == "F" else "C")

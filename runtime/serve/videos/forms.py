"""A form as browsers and curl send it: ``multipart/form-data`` of RFC 7578, held in memory."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message

from echoexport.runtime.serve.refusals import RefusedError, refuse

_MOST_FIELDS = 8
_LONGEST_HEAD = 4096
_LONGEST_BOUNDARY = 70  # of RFC 2046


@dataclass(frozen=True)
class FormField:
    """One part of a form."""

    content: bytes
    is_file: bool
    """Whether it came with a file's name, which is not looked at any further."""


def read_form(content_type: str, body: bytes) -> dict[str, FormField]:
    """The fields by name; of two with one name the last.

    Raises:
        RefusedError: it is no form, or has too many fields.
    """
    told = _read_header(content_type)
    boundary = told.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise _refuse("the form names no boundary")
    # A line's end before each boundary belongs to it; the first has none.
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise _refuse("the form has no end: it was cut")
    if len(parts) - 2 > _MOST_FIELDS:
        raise _refuse(f"the form has more than {_MOST_FIELDS} fields")
    return dict(_read_part(part) for part in parts[1:-1])


def _read_part(part: bytes) -> tuple[str, FormField]:
    head, found, content = part.partition(b"\r\n\r\n")
    if not found or len(head) > _LONGEST_HEAD:
        raise _refuse("a field of the form has no head, or one that is too long")
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            told = _read_header(value.strip())
            field = told.get_param("name")
            if isinstance(field, str):
                return field, FormField(content, told.get_param("filename") is not None)
    raise _refuse("a field of the form has no name")


def _read_header(value: str) -> Message:
    """A header with parameters; the standard library reads those of any."""
    if len(value) > _LONGEST_HEAD:  # its parameters would be looked for, for long
        raise _refuse(f"a header of the form is longer than {_LONGEST_HEAD} letters")
    told = Message()
    try:
        told["content-type"] = value
    except ValueError:  # a line's end within
        raise _refuse("a header of the form is none") from None
    return told


def _refuse(message: str) -> RefusedError:
    return RefusedError(refuse(400, message))

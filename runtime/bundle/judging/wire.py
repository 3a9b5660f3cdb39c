"""Messages of Protocol Buffers taken apart into fields, within their bounds.

Source: "Encoding", protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

__all__ = ["MOST_FIELDS", "Field", "ObjectionError", "Wire", "read_signed"]

Field = tuple[int, int, int]
"""Its tag (number and wire type as they stand in the file), then the place where its
content starts and where it stops; of a number its value and -1."""

MOST_FIELDS = 1_000_000
"""Of one file, in all its messages. A UNet of the official sizes takes 50,000."""

_NUMBER = 0
_EIGHT_BYTES = 1
_DELIMITED = 2
_FOUR_BYTES = 5


class ObjectionError(ValueError):
    """What speaks against a graph, without the name of its file."""


class Wire:
    """The bytes of a file, read as messages that lie in one another.

    Nothing is copied but what is asked for.
    """

    def __init__(self, content: bytes, *, most_fields: int = MOST_FIELDS) -> None:
        self.content = content
        self._left = most_fields

    def read_fields(self, start: int, stop: int) -> list[Field]:
        """The fields of the message between two places, unknown ones too.

        Raises:
            ObjectionError: a field leaves the message or is of no known kind, or the file
                has more of them than any of ours.
        """
        content = self.content
        fields: list[Field] = []
        add = fields.append
        place = start
        for _ in range(self._left):
            if place >= stop:
                break
            tag = content[place]
            place += 1
            if tag >= 0x80:
                tag, place = self.read_number(place - 1, stop)
            kind = tag & 7
            # one byte is the rule for lengths and numbers, and most of the time goes here
            if kind == _DELIMITED:
                if place < stop and content[place] < 0x80:
                    length = content[place]
                    place += 1
                else:
                    length, place = self.read_number(place, stop)
                end = place + length
                add((tag, place, end))
                place = end
            elif kind == _NUMBER:
                value, place = self.read_number(place, stop)
                add((tag, value, -1))
            else:
                end = place + _find_width(kind)
                add((tag, place, end))
                place = end
            if tag < 8 or place > stop:
                raise ObjectionError(_describe_end(tag))
        else:
            if place < stop:
                raise ObjectionError("it is made of too many fields")
        self._left -= len(fields)
        return fields

    def read_number(self, place: int, stop: int) -> tuple[int, int]:
        """A number of seven bits a byte, lowest first, and the place after it.

        Raises:
            ObjectionError: it does not end in time, or takes more than 64 bits.
        """
        value = shift = 0
        while place < stop:
            byte = self.content[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if value >> 64:
                    break
                return value, place
            if shift > 63:
                break
        raise ObjectionError("a number in it has no end")

    def read_numbers(self, start: int, stop: int) -> list[int]:
        """Signed numbers that lie one behind the other.

        Raises:
            ObjectionError: they are cut, or more than any of ours.
        """
        if stop - start > _LONGEST_LIST:
            raise ObjectionError(f"a list of numbers in it takes {stop - start} bytes")
        values = []
        place = start
        while place < stop:
            value, place = self.read_number(place, stop)
            values.append(read_signed(value))
        self._left -= len(values)
        return values

    def read_text(self, start: int, stop: int) -> str:
        """A name.

        Raises:
            ObjectionError: it is no UTF-8, or longer than any of ours.
        """
        if stop - start > _LONGEST_NAME:
            raise ObjectionError(f"a name in it takes {stop - start} bytes")
        try:
            return str(self.content[start:stop], "utf-8")
        except UnicodeDecodeError:
            raise ObjectionError("a name in it is no text") from None


_LONGEST_NAME = 4096  # bytes
_LONGEST_LIST = 1 << 16  # bytes


def read_signed(value: int) -> int:
    """What a number of 64 bits is as a signed one."""
    return value - (1 << 64) if value >> 63 else value


def _find_width(kind: int) -> int:
    if kind == _FOUR_BYTES:
        return 4
    if kind == _EIGHT_BYTES:
        return 8
    raise ObjectionError(f"a field in it is of kind {kind}, which is none")


def _describe_end(tag: int) -> str:
    if tag < 8:
        return "a field in it has the number 0"
    return f"it ends too early, within field {tag >> 3}"

"""The kinds of types that WIT has, as far as `wit/engine` uses them.

Owns the words of the table in `schema.py`. Refuses to know about memory and JSON. Nothing here fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag
from typing import Any, Union


@dataclass(frozen=True, eq=False)
class Scalar:
    """A number or a bool: `size` octets, `code` for `struct`, and its range."""

    name: str
    size: int
    code: str
    least: int
    most: int


@dataclass(frozen=True, eq=False)
class Text:
    """`string`."""


@dataclass(frozen=True, eq=False)
class Octets:
    """`list<u8>`."""


@dataclass(frozen=True, eq=False)
class Handle:
    """A session, by its number in the engine."""


@dataclass(frozen=True, eq=False)
class ListOf:
    """A list of anything but `u8`."""

    of: Shape


@dataclass(frozen=True, eq=False)
class OptionOf:
    """None, or the value."""

    of: Shape


@dataclass(frozen=True, eq=False)
class TupleOf:
    """A few values without names."""

    of: tuple[Shape, ...]


@dataclass(frozen=True, eq=False)
class ResultOf:
    """`Ok` or `Err`."""

    ok: Shape | None
    err: Shape | None


@dataclass(frozen=True, eq=False)
class Record:
    """Fields with WIT's names, in order; `make` takes them in that order."""

    name: str
    make: Callable[..., Any]
    fields: tuple[tuple[str, Shape], ...]


@dataclass(frozen=True, eq=False)
class Variant:
    """Cases in order: WIT's name, the class, and the payload's type."""

    name: str
    cases: tuple[tuple[str, type, Shape | None], ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """An `enum`: its members in WIT's order; their values are WIT's names."""

    name: str
    members: tuple[Enum, ...]


@dataclass(frozen=True, eq=False)
class Bits:
    """`flags`: at most 32, the first of them the lowest bit."""

    name: str
    make: type[Flag]
    names: tuple[str, ...]


Shape = Union[Scalar, Text, Octets, Handle, ListOf, OptionOf, TupleOf, ResultOf, Record, Variant, Choice, Bits]


@dataclass(frozen=True)
class Function:
    """A function of the resource `session`. All but the constructor may say `misuse` in place of their result."""

    kind: str
    parameters: tuple[tuple[str, Shape], ...]
    result: Shape | None


BOOL = Scalar("bool", 1, "?", 0, 1)
U8 = Scalar("u8", 1, "B", 0, 0xFF)
S8 = Scalar("s8", 1, "b", -0x80, 0x7F)
U16 = Scalar("u16", 2, "H", 0, 0xFFFF)
S32 = Scalar("s32", 4, "i", -0x8000_0000, 0x7FFF_FFFF)
U32 = Scalar("u32", 4, "I", 0, 0xFFFF_FFFF)
U64 = Scalar("u64", 8, "Q", 0, 0xFFFF_FFFF_FFFF_FFFF)
STRING = Text()
OCTETS = Octets()
HANDLE = Handle()

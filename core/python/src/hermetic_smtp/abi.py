"""How values lie in the engine's memory: the canonical ABI of the component model, as far as `wit/engine` needs it.

Owns sizes, alignments, discriminants and flattening, worked out from the table in `schema.py`; no offset is written by hand.
Reading is on the path of every call, so a reader is compiled once for each type: one `struct` for all that is fixed, then what
hangs on pointers. Refuses to know what functions there are (`instance.py`). What the engine says is not trusted: a pointer
outside of its memory, a discriminant without a case or text that is no UTF-8 is a `Broken`, and so is memory that has grown since
it was looked at, which is why the caller looks again once. A value of the embedder's that does not fit its type is a `Misfit`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Union

from hermetic_smtp.shapes import (
    BOOL,
    U8,
    U16,
    U32,
    Bits,
    Choice,
    Handle,
    ListOf,
    Octets,
    OptionOf,
    Record,
    ResultOf,
    Scalar,
    Shape,
    Text,
    TupleOf,
    Variant,
)
from hermetic_smtp.values import Err, Ok

MAX_FLAT_PARAMETERS = 16
"""Parameters beyond this go through memory (canonical ABI)."""


class Broken(Exception):
    """What the engine left in its memory is no value of the type it should be."""


class Misfit(Exception):
    """A value that was to be given to the engine is not of its type. The text says where, what, and what was expected."""


Reader = Callable[[memoryview, int], Any]


class Memory(Protocol):
    """Where a value is written."""

    def allocate(self, size: int, align: int) -> int:
        """Room in the engine's memory, owned by the callee from then on."""

    def write(self, at: int, octets: bytes) -> None:
        """Puts octets there."""


def _up(at: int, align: int) -> int:
    return -(-at // align) * align


def _discriminant(cases: int) -> Scalar:
    return U8 if cases <= 0x100 else U16 if cases <= 0x10000 else U32


@functools.cache
def layout(shape: Shape) -> tuple[int, int]:
    """Size and alignment in octets."""
    if isinstance(shape, Scalar):
        return shape.size, shape.size
    if isinstance(shape, (Text, Octets, ListOf)):
        return 8, 4
    if isinstance(shape, Handle):
        return 4, 4
    if isinstance(shape, Choice):
        return layout(_discriminant(len(shape.members)))
    if isinstance(shape, Bits):
        size = 1 if len(shape.names) <= 8 else 2 if len(shape.names) <= 16 else 4
        return size, size
    if isinstance(shape, (Record, TupleOf)):
        at, most = 0, 1
        for of in _members(shape):
            size, align = layout(of)
            at, most = _up(at, align) + size, max(most, align)
        return _up(at, most), most
    begin, align = payload(shape)
    return _up(begin + max((layout(c)[0] for c in _cases(shape) if c), default=0), align), align


def _members(shape: Record | TupleOf) -> Sequence[Shape]:
    return [of for _, of in shape.fields] if isinstance(shape, Record) else shape.of


def _offsets(shape: Record | TupleOf) -> list[tuple[int, Shape]]:
    at, found = 0, []
    for of in _members(shape):
        size, align = layout(of)
        at = _up(at, align)
        found.append((at, of))
        at += size
    return found


def _cases(shape: OptionOf | ResultOf | Variant) -> list[Shape | None]:
    if isinstance(shape, OptionOf):
        return [None, shape.of]
    if isinstance(shape, ResultOf):
        return [shape.ok, shape.err]
    return [of for _, _, of in shape.cases]


def payload(shape: OptionOf | ResultOf | Variant) -> tuple[int, int]:
    """Where the payload lies behind the discriminant, and the alignment of the whole."""
    cases = _cases(shape)
    tag = _discriminant(len(cases)).size
    align = max((layout(c)[1] for c in cases if c), default=1)
    return _up(tag, align), max(tag, align)


# Reading.


def _octets(memory: memoryview, at: int, size: int) -> bytes:
    if not size:
        return b""
    octets = memory[at : at + size].tobytes()
    if len(octets) != size:
        raise Broken(f"{size} octets at {at} are not inside its memory of {len(memory)}")
    return octets


def _text(memory: memoryview, at: int, size: int) -> str:
    try:
        return str(_octets(memory, at, size), "utf-8")
    except UnicodeDecodeError as error:
        raise Broken(f"a text that is no UTF-8: {error}") from None


def _list(memory: memoryview, at: int, count: int, size: int, read: Reader) -> list[Any]:
    if at + count * size > len(memory):
        raise Broken(f"a list of {count} at {at} is not inside its memory of {len(memory)}")
    return [read(memory, place) for place in range(at, at + count * size, size)]


class _Compiler:
    """Writes the source of one reader: what is fixed is unpacked at once, and one expression makes the value of it."""

    def __init__(self) -> None:
        self.fixed: list[tuple[int, str, int, str]] = []
        self.names: dict[str, Any] = {"_octets": _octets, "_text": _text, "_list": _list}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.names)}"
        self.names[name] = value
        return name

    def scalar(self, at: int, scalar: Scalar) -> str:
        name = f"f{len(self.fixed)}"
        self.fixed.append((at, scalar.code, scalar.size, name))
        return name

    def value(self, shape: Shape, at: int) -> str:
        """The expression for the value that begins at `p + at`."""
        if isinstance(shape, Scalar):
            return self.scalar(at, shape)
        if isinstance(shape, Handle):
            return self.scalar(at, U32)
        if isinstance(shape, (Text, Octets)):
            start, size = self.scalar(at, U32), self.scalar(at + 4, U32)
            if isinstance(shape, Text):
                return f"_text(m, {start}, {size})"
            return f"(_octets(m, {start}, {size}) if {size} else b'')"
        if isinstance(shape, ListOf):
            start, count = self.scalar(at, U32), self.scalar(at + 4, U32)
            read = self.constant(reader(shape.of))
            return f"(_list(m, {start}, {count}, {layout(shape.of)[0]}, {read}) if {count} else [])"
        if isinstance(shape, Choice):
            return f"{self.constant(shape.members)}[{self.scalar(at, _discriminant(len(shape.members)))}]"
        if isinstance(shape, Bits):
            code = {1: U8, 2: U16, 4: U32}[layout(shape)[0]]
            return f"{self.constant(shape.make)}({self.scalar(at, code)} & {(1 << len(shape.names)) - 1})"
        if isinstance(shape, (Record, TupleOf)):
            parts = ", ".join(self.value(of, at + offset) for offset, of in _offsets(shape))
            return f"({parts},)" if isinstance(shape, TupleOf) else f"{self.constant(shape.make)}({parts})"
        tag = self.scalar(at, _discriminant(len(_cases(shape))))
        place = at + payload(shape)[0]
        if isinstance(shape, OptionOf):
            return f"({self.constant(reader(shape.of))}(m, p + {place}) if {tag} else None)"
        return f"{self.constant(tuple(_case_readers(shape)))}[{tag}](m, p + {place})"


def _case_readers(shape: ResultOf | Variant) -> list[Reader]:
    makes: list[tuple[Callable[..., Any], Shape | None]]
    if isinstance(shape, ResultOf):
        makes = [(Ok, shape.ok), (Err, shape.err)]
    else:
        makes = [(make, of) for _, make, of in shape.cases]
    found: list[Reader] = []
    for make, of in makes:
        if of is not None:
            found.append(_reader(of, make))
        else:
            # One value for all times: a case without payload has nothing to tell it from another.
            alone = make(None) if isinstance(shape, ResultOf) else make()
            found.append(lambda memory, at, alone=alone: alone)  # type: ignore[misc]
    return found


def _reader(shape: Shape, make: Callable[..., Any] | None) -> Reader:
    compiler = _Compiler()
    expression = compiler.value(shape, 0)
    if make is not None:
        expression = f"{compiler.constant(make)}({expression})"
    code, end = "<", 0
    for at, letter, size, _ in sorted(compiler.fixed):
        code += f"{at - end}x" if at > end else ""
        code += letter
        end = at + size
    variables = "".join(f"{name}, " for *_, name in sorted(compiler.fixed))
    lines = ["def read(m, p):"]
    if variables:
        compiler.names["unpack"] = struct.Struct(code).unpack_from
        lines += ["    try:", f"        {variables}= unpack(m, p)"]
        lines += ["    except error:", "        raise Broken(f'a value at {p} is not inside its memory of {len(m)}') from None"]
    lines += ["    try:", f"        return {expression}", "    except IndexError:"]
    lines += ["        raise Broken('a choice that does not exist') from None"]
    compiler.names.update(Broken=Broken, error=struct.error)
    scope: dict[str, Any] = compiler.names
    # The source is made of the table alone; nothing that anybody sends comes into it.
    exec("\n".join(lines), scope)
    read: Reader = scope["read"]
    return read


@functools.cache
def reader(shape: Shape) -> Reader:
    """Reads a value of this type: memory, and where it begins."""
    return _reader(shape, None)


# Writing. First a plan is made, which touches nothing of the engine's, so that a value that does not fit costs nothing; then it is
# placed. A plan can be placed as often as one likes.


class Block:
    """Octets for the engine's memory, and what they point to."""

    __slots__ = ("align", "octets", "pointers")

    def __init__(self, octets: bytes | bytearray, align: int) -> None:
        self.octets: Any = octets
        self.align = align
        self.pointers: list[tuple[int, Block]] = []


Plan = list[Union[int, Block]]
"""The core arguments of a call; a block stands for its address."""

Writer = Callable[[Any, Block, int], None]
Flattener = Callable[[Any, Plan], None]
_POINTER = struct.Struct("<II")


def place(memory: Memory, block: Block) -> int:
    """Puts a block, and all that it points to, into the engine's memory; where it is."""
    for at, inner in block.pointers:
        block.octets[at : at + 4] = place(memory, inner).to_bytes(4, "little")
    at = memory.allocate(len(block.octets), block.align)
    memory.write(at, bytes(block.octets))
    return at


def _misfit(value: object, wanted: str) -> Misfit:
    return Misfit(f"{wanted} was expected, not {type(value).__name__} {value!r:.60}")


def _within(place: str, error: Misfit) -> Misfit:
    return Misfit(f"{place}: {error}")


def _number(shape: Scalar) -> Callable[[Any], int]:
    least, most, wrap = shape.least, shape.most, 1 << 8 * shape.size

    def number(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _misfit(value, f"a whole number from {least} to {most}")
        return value if value >= 0 else value + wrap

    def truth(value: Any) -> int:
        if type(value) is not bool:
            raise _misfit(value, "True or False")
        return int(value)

    return truth if shape is BOOL else number


def _text_octets(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _misfit(value, "a text")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise _misfit(value, "a text without lone surrogates") from None


def _plain_octets(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _misfit(value, "octets (bytes)")
    return bytes(value)


def _elements(shape: ListOf) -> Callable[[Any], tuple[Block | None, int]]:
    write = writer(shape.of)
    size, align = layout(shape.of)

    def elements(value: Any) -> tuple[Block | None, int]:
        if not isinstance(value, (list, tuple)):
            raise _misfit(value, "a list")
        if not value:
            return None, 0
        block = Block(bytearray(size * len(value)), align)
        for place, of in enumerate(value):
            try:
                write(of, block, place * size)
            except Misfit as error:
                raise _within(f"[{place}]", error) from None
        return block, len(value)

    return elements


def _pointed(shape: Text | Octets | ListOf) -> Callable[[Any], tuple[Block | None, int]]:
    """What a pointer and a length stand for; nothing has no block."""
    if isinstance(shape, ListOf):
        return _elements(shape)
    encode = _text_octets if isinstance(shape, Text) else _plain_octets

    def encoded(value: Any) -> tuple[Block | None, int]:
        octets = encode(value)
        return (Block(octets, 1), len(octets)) if octets else (None, 0)

    return encoded


def _ordinal(shape: Choice | Bits) -> Callable[[Any], int]:
    if isinstance(shape, Bits):
        make = shape.make

        def bits(value: Any) -> int:
            if not isinstance(value, make):
                raise _misfit(value, make.__name__)
            return int(value.value)

        return bits
    places = {member: place for place, member in enumerate(shape.members)}

    def ordinal(value: Any) -> int:
        found = places.get(value) if type(value) is type(shape.members[0]) else None
        if found is None:
            raise _misfit(value, f"a member of {type(shape.members[0]).__name__}")
        return found

    return ordinal


def _chooser(shape: OptionOf | ResultOf | Variant) -> Callable[[Any], tuple[int, Any]]:
    """Which case a value is, and its payload."""
    if isinstance(shape, OptionOf):
        return lambda value: (0, None) if value is None else (1, value)
    if isinstance(shape, ResultOf):
        places: dict[type, int] = {Ok: 0, Err: 1}
        wanted = "Ok or Err"
    else:
        places = {make: place for place, (_, make, _) in enumerate(shape.cases)}
        wanted = f"one of {', '.join(make.__name__ for make in places)}"

    def chosen(value: Any) -> tuple[int, Any]:
        case = places.get(type(value))
        if case is None:
            raise _misfit(value, wanted)
        return case, getattr(value, "value", None)

    return chosen


def _parts(shape: Record | TupleOf) -> tuple[list[str], Callable[[Any], Any]]:
    """The names of the parts for people, and what makes sure that a value has as many."""
    if isinstance(shape, Record):
        make = shape.make

        def record(value: Any) -> Any:
            if type(value) is not make:
                raise _misfit(value, getattr(make, "__name__", shape.name))
            return value

        return [name for name, _ in shape.fields], record
    count = len(shape.of)

    def several(value: Any) -> Any:
        if type(value) is not tuple or len(value) != count:
            raise _misfit(value, f"a tuple of {count}")
        return value

    return [f"[{place}]" for place in range(count)], several


def _named(name: str, write: Callable[..., None], *arguments: Any) -> None:
    try:
        write(*arguments)
    except Misfit as error:
        raise _within(name, error) from None


@functools.cache
def writer(shape: Shape) -> Writer:
    """Writes a value of this type into a block, at a place; raises `Misfit`."""
    size = layout(shape)[0]
    if isinstance(shape, (Scalar, Choice, Bits)):
        number = _number(shape) if isinstance(shape, Scalar) else _ordinal(shape)

        def write_number(value: Any, block: Block, at: int) -> None:
            block.octets[at : at + size] = number(value).to_bytes(size, "little")

        return write_number
    if isinstance(shape, (Text, Octets, ListOf)):
        pointed = _pointed(shape)

        def write_pointer(value: Any, block: Block, at: int) -> None:
            inner, count = pointed(value)
            _POINTER.pack_into(block.octets, at, 1, count)
            if inner:
                block.pointers.append((at, inner))

        return write_pointer
    if isinstance(shape, (Record, TupleOf)):
        names, whole = _parts(shape)
        writers = [(name, offset, writer(of)) for name, (offset, of) in zip(names, _offsets(shape), strict=True)]

        def write_parts(value: Any, block: Block, at: int) -> None:
            for (name, offset, write), part in zip(writers, whole(value), strict=True):
                _named(name, write, part, block, at + offset)

        return write_parts
    if isinstance(shape, Handle):
        raise TypeError("a session is never given to the engine")
    chosen = _chooser(shape)
    tag = _discriminant(len(_cases(shape))).size
    begin = payload(shape)[0]
    payloads = [writer(of) if of else None for of in _cases(shape)]

    def write_case(value: Any, block: Block, at: int) -> None:
        case, part = chosen(value)
        block.octets[at : at + tag] = case.to_bytes(tag, "little")
        write = payloads[case]
        if write:
            write(part, block, at + begin)

    return write_case


@functools.cache
def flat_size(shape: Shape) -> int:
    """How many core values it is as a parameter. All of ours are integers, so only their number matters: a 32-bit value in a
    64-bit place is the same octets."""
    if isinstance(shape, (Text, Octets, ListOf)):
        return 2
    if isinstance(shape, (Record, TupleOf)):
        return sum(flat_size(of) for of in _members(shape))
    if isinstance(shape, (OptionOf, ResultOf, Variant)):
        return 1 + max((flat_size(of) for of in _cases(shape) if of), default=0)
    return 1


@functools.cache
def flattener(shape: Shape) -> Flattener:
    """Appends the core values of a value of this type; raises `Misfit`."""
    if isinstance(shape, (Scalar, Choice, Bits)):
        number = _number(shape) if isinstance(shape, Scalar) else _ordinal(shape)
        # Small signed numbers are sign-extended to 32 bits.
        extend = 0x1_0000_0000 - (1 << 8 * shape.size) if isinstance(shape, Scalar) and shape.least < 0 else 0

        def flatten_number(value: Any, flat: Plan) -> None:
            found = number(value)
            flat.append(found + extend if extend and value < 0 else found)

        return flatten_number
    if isinstance(shape, (Text, Octets, ListOf)):
        pointed = _pointed(shape)

        def flatten_pointer(value: Any, flat: Plan) -> None:
            inner, count = pointed(value)
            flat.append(inner or 1)
            flat.append(count)

        return flatten_pointer
    if isinstance(shape, (Record, TupleOf)):
        names, whole = _parts(shape)
        flatteners = list(zip(names, map(flattener, _members(shape)), strict=True))

        def flatten_parts(value: Any, flat: Plan) -> None:
            for (name, flatten), part in zip(flatteners, whole(value), strict=True):
                _named(name, flatten, part, flat)

        return flatten_parts
    if isinstance(shape, Handle):
        raise TypeError("a session is never given to the engine")
    chosen = _chooser(shape)
    room = flat_size(shape)
    payloads = [flattener(of) if of else None for of in _cases(shape)]

    def flatten_case(value: Any, flat: Plan) -> None:
        end = len(flat) + room
        case, part = chosen(value)
        flat.append(case)
        flatten = payloads[case]
        if flatten:
            flatten(part, flat)
        if len(flat) < end:
            flat.extend([0] * (end - len(flat)))

    return flatten_case


class Parameters:
    """How the parameters of one function are given to the core module."""

    def __init__(self, parameters: Sequence[tuple[str, Shape]], session: bool) -> None:
        self.names = [name for name, _ in parameters]
        self.through_memory = session + sum(flat_size(of) for _, of in parameters) > MAX_FLAT_PARAMETERS
        shape = TupleOf((*((U32,) if session else ()), *(of for _, of in parameters)))
        self.size, self.align = layout(shape)
        self.offsets = [offset for offset, _ in _offsets(shape)][int(session) :]
        self.writers = [writer(of) for _, of in parameters] if self.through_memory else []
        self.flatteners = [] if self.through_memory else [flattener(of) for _, of in parameters]

    def plan(self, session: int | None, values: Sequence[Any]) -> Plan:
        """The call, prepared: the session's number if the function is one of a session, and the parameters. Raises `Misfit`."""
        if not self.through_memory:
            flat: Plan = [] if session is None else [session]
            for name, flatten, value in zip(self.names, self.flatteners, values, strict=True):
                _named(name, flatten, value, flat)
            return flat
        block = Block(bytearray(self.size), self.align)
        if session is not None:
            block.octets[:4] = session.to_bytes(4, "little")
        for name, write, value, offset in zip(self.names, self.writers, values, self.offsets, strict=True):
            _named(name, write, value, block, offset)
        return [block]

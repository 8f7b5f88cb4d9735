"""Values as JSON, the way that `wit/session.md` lays down.

Owns both directions, by the table in `schema.py`. Refuses to know lines and files (`recording.py`, `replay.py`). What fits no type is
an `Unlike`, which says where, what, and what was expected.
"""

from __future__ import annotations

from typing import Any

from hermetic_smtp.shapes import BOOL, Bits, Choice, ListOf, Octets, OptionOf, Record, ResultOf, Scalar, Shape, Text, TupleOf, Variant
from hermetic_smtp.values import Err, Ok

EXACT = (1 << 53) - 1
"""Numbers above this are texts: not every reader of JSON keeps them."""


class Unlike(Exception):
    """A value of JSON is not of the type that it should be. `path` leads to it."""

    def __init__(self, text: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(f"{'.'.join(path)}: {text}" if path else text)
        self.text = text
        self.path = path


def to_json(shape: Shape | None, value: Any) -> Any:
    """A value that fits its type, as what `json.dumps` takes."""
    if shape is None:
        return None
    if isinstance(shape, Scalar):
        return str(value) if value > EXACT else value
    if isinstance(shape, Octets):
        return bytes(value).decode("latin-1")
    if isinstance(shape, ListOf):
        return [to_json(shape.of, part) for part in value]
    if isinstance(shape, TupleOf):
        return [to_json(of, part) for of, part in zip(shape.of, value, strict=True)]
    if isinstance(shape, OptionOf):
        return None if value is None else to_json(shape.of, value)
    if isinstance(shape, ResultOf):
        return {"ok": to_json(shape.ok, value.value)} if isinstance(value, Ok) else {"err": to_json(shape.err, value.value)}
    if isinstance(shape, Record):
        return {name: to_json(of, part) for (name, of), part in zip(shape.fields, value, strict=True)}
    if isinstance(shape, Choice):
        return str(value.value)
    if isinstance(shape, Bits):
        return [name for bit, name in enumerate(shape.names) if value.value >> bit & 1]
    if isinstance(shape, Variant):
        for name, make, of in shape.cases:
            if type(value) is make:
                return name if of is None else {name: to_json(of, getattr(value, "value"))}
    return value


def _unlike(value: object, wanted: str) -> Unlike:
    return Unlike(f"{wanted} was expected, not {value!r:.60}")


def _part(place: str, shape: Shape, value: object) -> Any:
    try:
        return from_json(shape, value)
    except Unlike as error:
        raise Unlike(error.text, (place, *error.path)) from None


def from_json(shape: Shape | None, value: object) -> Any:
    """The value that JSON says. Raises `Unlike`."""
    if shape is None:
        if value is not None:
            raise _unlike(value, "null")
        return None
    if isinstance(shape, Scalar):
        return _scalar(shape, value)
    if isinstance(shape, Text):
        return _text(value)
    if isinstance(shape, Octets):
        try:
            return _text(value).encode("latin-1")
        except UnicodeEncodeError:
            raise _unlike(value, "a text of characters up to U+00FF") from None
    if isinstance(shape, OptionOf):
        return None if value is None else from_json(shape.of, value)
    if isinstance(shape, ListOf):
        return [_part(f"[{place}]", shape.of, part) for place, part in enumerate(_array(value))]
    if isinstance(shape, TupleOf):
        parts = _array(value)
        if len(parts) != len(shape.of):
            raise _unlike(value, f"an array of {len(shape.of)}")
        return tuple(_part(f"[{place}]", of, part) for place, (of, part) in enumerate(zip(shape.of, parts, strict=True)))
    if isinstance(shape, Record):
        return _record(shape, value)
    if isinstance(shape, Choice):
        for member in shape.members:
            if member.value == value:
                return member
        raise _unlike(value, f"one of {', '.join(str(member.value) for member in shape.members)}")
    if isinstance(shape, Bits):
        return _bits(shape, value)
    if isinstance(shape, (ResultOf, Variant)):
        return _case(shape, value)
    raise Unlike("a session stands in no file")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _unlike(value, "a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _unlike(value, "a text without lone surrogates") from None
    return value


def _array(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _unlike(value, "an array")
    return value


def _scalar(shape: Scalar, value: object) -> Any:
    if shape is BOOL:
        if not isinstance(value, bool):
            raise _unlike(value, "true or false")
        return value
    if isinstance(value, str) and 0 < len(value) <= 20 and value.isascii() and value.isdigit() and shape.most > EXACT:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not shape.least <= value <= shape.most:
        raise _unlike(value, f"a whole number from {shape.least} to {shape.most}")
    return value


def _record(shape: Record, value: object) -> Any:
    if not isinstance(value, dict):
        raise _unlike(value, f"an object of {shape.name}")
    names = [name for name, _ in shape.fields]
    for name in names:
        if name not in value:
            raise Unlike(f"`{name}` is not there, and {shape.name} has it")
    for name in value:
        if name not in names:
            raise Unlike(f"`{name}` is no field of {shape.name}")
    return shape.make(*(_part(name, of, value[name]) for name, of in shape.fields))


def _bits(shape: Bits, value: object) -> Any:
    bits = 0
    for name in _array(value):
        if name not in shape.names:
            raise _unlike(name, f"one of {', '.join(shape.names)}")
        bits |= 1 << shape.names.index(name)
    return shape.make(bits)


def _case(shape: ResultOf | Variant, value: object) -> Any:
    cases: list[tuple[str, Any, Shape | None]]
    if isinstance(shape, ResultOf):
        cases = [("ok", Ok, shape.ok), ("err", Err, shape.err)]
    else:
        cases = list(shape.cases)
    wanted = f"one of {', '.join(name for name, _, _ in cases)}"
    named, payload, bare = value, None, isinstance(value, str)
    if isinstance(value, dict) and len(value) == 1:
        ((named, payload),) = value.items()
    elif not bare:
        raise _unlike(value, wanted)
    for name, make, of in cases:
        if name != named:
            continue
        if isinstance(shape, ResultOf):
            if bare:
                break
            return make(None if of is None else _part(name, of, payload))
        if of is None:
            if not bare:
                raise Unlike(f"`{name}` has no payload")
            return make()
        if bare:
            raise Unlike(f"`{name}` has a payload")
        return make(_part(name, of, payload))
    raise _unlike(value, wanted)

"""Takes the engine's core module out of its component.

    python extract.py COMPONENT OUT

Owns as much of the binary format as that takes: the outer sections of a component, those of a module, and a module's imports and
exports. Debugging and naming sections are left behind. It fails with what the file is not.
"""

from __future__ import annotations

import sys
from pathlib import Path

MAGIC = b"\0asm"
COMPONENT = b"\x0d\0\1\0"
MODULE = b"\1\0\0\0"
CUSTOM, CORE_MODULE = 0, 1
"""Sections by their numbers: `custom` is the same in both kinds of file."""


class NoEngine(Exception):
    """The file is not the engine's component."""


def _number(code: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number of at most 32 bits, and where it ends."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(code):
            break
        octet = code[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise NoEngine(f"there is no number at {at}")


def sections(code: bytes) -> list[tuple[int, bytes]]:
    """The sections of a component or a module: number and content, in order."""
    found = []
    at = 8
    while at < len(code):
        number = code[at]
        size, begin = _number(code, at + 1)
        at = begin + size
        if at > len(code):
            raise NoEngine("it was cut short")
        found.append((number, code[begin:at]))
    return found


def extract(component: bytes) -> bytes:
    """The largest core module of a component, without its custom sections.

    Raises `NoEngine`.
    """
    if component[:4] != MAGIC:
        raise NoEngine("it is no WebAssembly")
    if component[4:8] != COMPONENT:
        raise NoEngine("it is a WebAssembly module, not a component")
    modules = [content for number, content in sections(component) if number == CORE_MODULE and content[:8] == MAGIC + MODULE]
    if not modules:
        raise NoEngine("there is no core module in it")
    module = max(modules, key=len)
    if b"hermetic:engine/server@" not in module:
        raise NoEngine("its core module exports no hermetic:engine/server")
    kept = bytearray(module[:8])
    for number, content in sections(module):
        if number != CUSTOM:
            size, rest = bytearray(), len(content)
            while rest >= 0x80:
                size.append(rest & 0x7F | 0x80)
                rest >>= 7
            size.append(rest)
            kept += bytes([number]) + size + content
    return bytes(kept)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 64
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        target.write_bytes(extract(source.read_bytes()))
    except (NoEngine, OSError) as error:
        print(f"{source}: {error}", file=sys.stderr)
        return 66
    return 0


if __name__ == "__main__":
    sys.exit(main())

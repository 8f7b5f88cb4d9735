"""The part of WIT that `wit/engine` is written in, read.

Owns the grammar: packages, interfaces with `use`, records, variants, enums, flags, aliases, resources with functions, and the
documentation above each. Refuses to know what is made of it (`generate.py`). It fails with the file's name, the line, and what was
expected; what it does not know it refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = re.compile(r"(?P<doc>///[^\n]*)|(?P<comment>//[^\n]*)|(?P<space>\s+)|(?P<word>%?[a-zA-Z][a-zA-Z0-9-]*)|(?P<mark>->|[{}()<>,;:=.@/_]|\d+)")
PRIMITIVES = {"bool", "string", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"}


class Unreadable(Exception):
    """A file is not in the grammar."""


@dataclass(frozen=True)
class Type:
    """A type in use: a primitive, a name, or `list`, `option`, `tuple`, `result`, `borrow` of others (`_` is None)."""

    name: str
    of: tuple[Type | None, ...] = ()


@dataclass
class Definition:
    """A record, variant, enum, flags or alias. `members` are its fields or cases, with their documentation."""

    kind: str
    name: str
    doc: str
    members: list[tuple[str, Type | None, str]] = field(default_factory=list)
    alias: Type | None = None


@dataclass
class Function:
    """A constructor, method or static function of the resource `session`."""

    kind: str
    name: str
    doc: str
    parameters: list[tuple[str, Type]]
    result: Type | None


@dataclass
class Interface:
    """One interface; its names come before they are used."""

    name: str
    doc: str
    uses: dict[str, str] = field(default_factory=dict)
    definitions: list[Definition] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)


@dataclass
class File:
    """One file with its package's version."""

    version: str
    interfaces: list[Interface]


class Reader:
    """Reads one file from the front to the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokens: list[tuple[str, str, int]] = []
        text = path.read_text(encoding="utf-8")
        at = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            line = text.count("\n", 0, at) + 1
            if not found:
                raise Unreadable(f"{path}:{line}: {text[at]!r} begins nothing that this reader knows")
            if found.lastgroup not in ("space", "comment"):
                assert found.lastgroup
                self.tokens.append((found.lastgroup, found.group(), line))
            at = found.end()
        self.at = 0

    def fail(self, wanted: str) -> Unreadable:
        kind, text, line = self.tokens[self.at] if self.at < len(self.tokens) else ("", "the end", 0)
        return Unreadable(f"{self.path}:{line}: {wanted} was expected, not {text!r}")

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, text: str) -> bool:
        if self.peek() == text:
            self.at += 1
            return True
        return False

    def want(self, text: str) -> None:
        if not self.take(text):
            raise self.fail(repr(text))

    def word(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != "word":
            raise self.fail("a name")
        self.at += 1
        return self.tokens[self.at - 1][1].lstrip("%")

    def doc(self) -> str:
        lines = []
        while self.at < len(self.tokens) and self.tokens[self.at][0] == "doc":
            lines.append(self.tokens[self.at][1][3:].strip())
            self.at += 1
        return "\n".join(lines)

    def file(self) -> File:
        self.want("package")
        while not self.take("@"):
            self.at += 1
        version = ""
        while not self.take(";"):
            version += self.peek()
            self.at += 1
        interfaces = []
        while self.at < len(self.tokens):
            doc = self.doc()
            if self.take("world"):
                while not self.take("}"):
                    self.at += 1
                continue
            self.want("interface")
            interfaces.append(self.interface(doc))
        return File(version, interfaces)

    def interface(self, doc: str) -> Interface:
        interface = Interface(self.word(), doc)
        self.want("{")
        while True:
            doc = self.doc()
            if self.take("}"):
                return interface
            kind = self.word()
            if kind == "use":
                self.use(interface)
            elif kind == "type":
                name = self.word()
                self.want("=")
                interface.definitions.append(Definition("type", name, doc, alias=self.type()))
                self.want(";")
            elif kind in ("record", "variant", "enum", "flags"):
                interface.definitions.append(self.definition(kind, doc))
            elif kind == "resource":
                name = self.word()
                if name != "session":
                    raise self.fail("the resource `session`")
                self.want("{")
                while not self.peek() == "}":
                    interface.functions.append(self.function())
                self.want("}")
            else:
                self.at -= 1
                raise self.fail("use, type, record, variant, enum, flags or resource")

    def use(self, interface: Interface) -> None:
        source = self.word()
        self.want(".")
        self.want("{")
        while not self.take("}"):
            interface.uses[self.word()] = source
            self.take(",")
        self.want(";")

    def definition(self, kind: str, doc: str) -> Definition:
        definition = Definition(kind, self.word(), doc)
        self.want("{")
        while True:
            doc = self.doc()
            if self.take("}"):
                return definition
            name = self.word()
            of: Type | None = None
            if kind == "record":
                self.want(":")
                of = self.type()
            elif kind == "variant" and self.take("("):
                of = self.type()
                self.want(")")
            definition.members.append((name, of, doc))
            if not self.take(",") and self.peek() != "}":
                raise self.fail("',' or '}'")

    def function(self) -> Function:
        doc = self.doc()
        name = self.word()
        kind = "constructor"
        if name != "constructor":
            self.want(":")
            kind = "static" if self.take("static") else "method"
            self.want("func")
        parameters = []
        self.want("(")
        while not self.take(")"):
            parameter = self.word()
            self.want(":")
            parameters.append((parameter, self.type()))
            self.take(",")
        result = self.type() if self.take("->") else None
        self.want(";")
        return Function(kind, name, doc, parameters, result)

    def type(self) -> Type:
        name = self.word()
        if name in ("list", "option", "tuple", "result", "borrow") and self.take("<"):
            of: list[Type | None] = []
            while not self.take(">"):
                of.append(None if self.take("_") else self.type())
                self.take(",")
            return Type(name, tuple(of))
        return Type(name)


def read(folder: Path) -> tuple[str, dict[str, Interface]]:
    """All interfaces of a folder by name, and the package's version."""
    version = ""
    interfaces: dict[str, Interface] = {}
    for path in sorted(folder.glob("*.wit")):
        file = Reader(path).file()
        if version and file.version != version:
            raise Unreadable(f"{path}: version {file.version}, but {version} in another file")
        version = file.version
        interfaces.update((interface.name, interface) for interface in file.interfaces)
    return version, interfaces

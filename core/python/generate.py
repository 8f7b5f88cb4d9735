"""Writes `values.py` and `schema.py` of the package from `wit/engine`.

    python generate.py           write them
    python generate.py --check   say whether they are what would be written; 1 if not

Owns how a WIT type looks in Python. Refuses to know how values are laid out in memory (`hermetic_smtp/abi.py`) or in JSON
(`hermetic_smtp/transcribe.py`): both work from the table in `schema.py`. It fails with what it does not know how to say in Python.
"""

from __future__ import annotations

import keyword
import sys
import textwrap
from pathlib import Path

import wit

HERE = Path(__file__).resolve().parent
WIT = HERE.parent.parent / "wit" / "engine"
PACKAGE = HERE / "src" / "hermetic_smtp"
INTERFACES = ("types", "server", "client")
PYTHON = {"bool": "bool", "string": "str", "s8": "int", "u8": "int", "s16": "int", "u16": "int", "s32": "int", "u32": "int", "s64": "int", "u64": "int"}


class Writer:
    """Both files, while they are written."""

    def __init__(self) -> None:
        self.version, self.interfaces = wit.read(WIT)
        names = [d.name for i in INTERFACES for d in self.interfaces[i].definitions]
        self.twice = {name for name in names if names.count(name) > 1}
        self.values: list[str] = []
        self.schema: list[str] = []
        self.exported: list[str] = []

    def key(self, interface: str, name: str) -> str:
        """A name of WIT, made unique: what several interfaces have gets its interface's name in front, except in `types`."""
        source = self.interfaces[interface].uses.get(name, interface)
        if name in self.interfaces[interface].uses:
            return self.key(source, name)
        if (name in self.twice and interface != "types") or name in ("limits", "options"):
            return f"{interface}-{name}"
        return name

    @staticmethod
    def camel(name: str) -> str:
        return "".join(part.capitalize() for part in name.split("-"))

    @staticmethod
    def snake(name: str) -> str:
        name = name.replace("-", "_")
        return f"{name}_" if keyword.iskeyword(name) else name

    def python(self, interface: str, of: wit.Type | None) -> str:
        """The type as an annotation."""
        if of is None:
            return "None"
        if of.name in PYTHON:
            return PYTHON[of.name]
        inner = [self.python(interface, t) for t in of.of]
        if of.name == "list":
            return "bytes" if of.of[0] == wit.Type("u8") else f"Sequence[{inner[0]}]"
        if of.name == "option":
            return f"{inner[0]} | None"
        if of.name == "tuple":
            return f"tuple[{', '.join(inner)}]"
        if of.name == "result":
            return f"Ok[{inner[0]}] | Err[{inner[1]}]"
        return self.camel(self.key(interface, of.name))

    def shape(self, interface: str, of: wit.Type | None) -> str:
        """The type as an expression over the table."""
        if of is None:
            return "None"
        if of.name in PYTHON:
            return of.name.upper()
        inner = [self.shape(interface, t) for t in of.of]
        if of.name == "list":
            return "OCTETS" if of.of[0] == wit.Type("u8") else f"ListOf({inner[0]})"
        if of.name == "option":
            return f"OptionOf({inner[0]})"
        if of.name == "tuple":
            return f"TupleOf(({', '.join(inner)},))"
        if of.name == "result":
            return f"ResultOf({inner[0]}, {inner[1]})"
        return self.snake(self.key(interface, of.name))

    @staticmethod
    def docstring(doc: str, otherwise: str, more: list[tuple[str, str]], indent: str = "    ") -> list[str]:
        text = doc or otherwise
        lines = textwrap.wrap(" ".join(text.split()), 110)
        for name, what in more:
            if what:
                lines += ["", *textwrap.wrap(f"`{name}`: {' '.join(what.split())}", 110)]
        lines = [line.replace("\\", "\\\\").replace('"""', "'''") for line in lines]
        if len(lines) == 1:
            return [f'{indent}"""{lines[0]}"""']
        return [f'{indent}"""{lines[0]}', *[f"{indent}{line}".rstrip() for line in lines[1:]], f'{indent}"""']

    def definition(self, interface: str, definition: wit.Definition) -> None:
        key = self.key(interface, definition.name)
        name, variable = self.camel(key), self.snake(key)
        out, table = self.values, self.schema
        self.exported.append(name)
        if definition.kind == "type":
            assert definition.alias
            if definition.alias.name != "result":
                raise SystemExit(f"{definition.name}: an alias of a result is all that this can say")
            ok, err = (self.python(interface, of) for of in definition.alias.of)
            ok = ok.replace("str | None", "Optional[str]")
            out += ["", f"{name} = Union[Ok[{ok}], Err[{err}]]"]
            if definition.doc:
                out += [*self.docstring(definition.doc, "", [], "")]
            out.append("")
            table.append(f"{variable} = {self.shape(interface, definition.alias)}")
        elif definition.kind == "record":
            out += ["", f"class {name}(NamedTuple):"]
            more = [(self.snake(n), d) for n, _, d in definition.members]
            out += self.docstring(definition.doc, f"`{definition.name}` of `{interface}`.", more)
            out.append("")
            out += [f"    {self.snake(n)}: {self.python(interface, t)}" for n, t, _ in definition.members]
            out.append("")
            fields = "".join(f"\n    ({n!r}, {self.shape(interface, t)})," for n, t, _ in definition.members)
            table.append(f"{variable} = Record({definition.name!r}, v.{name}, ({fields}\n))")
        elif definition.kind == "enum":
            out += ["", f"class {name}(Enum):", *self.docstring(definition.doc, f"`{definition.name}` of `{interface}`.", []), ""]
            for case, _, doc in definition.members:
                out.append(f"    {case.replace('-', '_').upper()} = {case!r}")
                if doc:
                    out += self.docstring(doc, "", [])
            out.append("")
            table.append(f"{variable} = Choice({definition.name!r}, tuple(v.{name}))")
        elif definition.kind == "flags":
            out += ["", f"class {name}(Flag):", *self.docstring(definition.doc, f"`{definition.name}` of `{interface}`.", []), ""]
            out += [f"    {case.replace('-', '_').upper()} = 1 << {bit}" for bit, (case, _, _) in enumerate(definition.members)]
            out.append("")
            table.append(f"{variable} = Bits({definition.name!r}, v.{name}, {tuple(c for c, _, _ in definition.members)!r})")
        else:
            self.variant(interface, definition, name, variable)

    def variant(self, interface: str, definition: wit.Definition, name: str, variable: str) -> None:
        out, table = self.values, self.schema
        classes = []
        rows = []
        for case, of, doc in definition.members:
            of_class = f"{name}{self.camel(case)}"
            classes.append(of_class)
            out += ["", "@dataclass(frozen=True, slots=True)", f"class {of_class}:"]
            out += self.docstring(doc, f"`{case}`, a case of `{definition.name}`.", [])
            if of:
                out += ["", f"    value: {self.python(interface, of)}"]
            out.append("")
            rows.append(f"\n    ({case!r}, v.{of_class}, {self.shape(interface, of)}),")
        self.exported += classes
        out += ["", f"{name} = Union[{', '.join(classes)}]"]
        out += [*self.docstring(definition.doc, f"`{definition.name}` of `{interface}`.", [], ""), ""]
        table.append(f"{variable} = Variant({definition.name!r}, ({''.join(rows)}\n))")

    def functions(self, interface: str) -> None:
        rows = []
        for function in self.interfaces[interface].functions:
            parameters = "".join(f"({n!r}, {self.shape(interface, t)}), " for n, t in function.parameters)
            result = "None"
            if function.result and function.name != "thaw":
                assert function.result.name == "result" and function.result.of[1] == wit.Type("misuse"), function.name
                result = self.shape(interface, function.result.of[0])
            elif function.name == "thaw":
                result = "HANDLE"
            rows.append(f"        {function.name!r}: Function({function.kind!r}, ({parameters.rstrip()}), {result}),")
        self.schema.append(f"    {interface!r}: {{")
        self.schema += [*rows, "    },"]

    def write(self) -> dict[Path, str]:
        for interface in INTERFACES:
            for definition in self.interfaces[interface].definitions:
                self.definition(interface, definition)
        self.schema += ["", "FUNCTIONS: dict[str, dict[str, Function]] = {"]
        for interface in ("server", "client"):
            self.functions(interface)
        self.schema.append("}")
        head = "Generated from `wit/engine` by `generate.py`; changes here are lost."
        exported = "".join(f"\n    {name!r}," for name in sorted([*self.exported, "Err", "Ok"]))
        values = f'''"""What crosses the boundary of the engine, as Python values.

{head} Records are named tuples; a variant is a union of small
frozen classes, one a case, with the payload in `value`; `option` is None or the value; `result` is `Ok` or `Err`; octets are
bytes. Times are milliseconds on one monotonic clock of the embedder's, sizes are octets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, Flag
from typing import Generic, NamedTuple, Optional, TypeVar, Union

__all__ = [{exported}
]

T = TypeVar("T")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The good side of a `result`."""

    value: T


@dataclass(frozen=True, slots=True)
class Err(Generic[E]):
    """The other side of a `result`."""

    value: E

'''
        # The aliases are evaluated: names that come later cannot stand in them, and none does.
        schema = f'''"""The types and functions of `wit/engine` as a table.

{head} `abi.py` lays values out in memory by it, `transcribe.py` in JSON. Order matters: it is WIT's.
"""

from __future__ import annotations

from hermetic_smtp import values as v
from hermetic_smtp.shapes import (
    BOOL,
    HANDLE,
    OCTETS,
    S8,
    S32,
    STRING,
    U16,
    U32,
    U64,
    Bits,
    Choice,
    Function,
    ListOf,
    OptionOf,
    Record,
    ResultOf,
    TupleOf,
    Variant,
)

VERSION = "{self.version}"

'''
        return {
            PACKAGE / "values.py": values + "\n".join(self.values).strip("\n") + "\n",
            PACKAGE / "schema.py": schema + "\n".join(self.schema) + "\n",
        }


def main() -> int:
    files = Writer().write()
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 64
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.name} is not what wit/engine says: run `python generate.py`", file=sys.stderr)
        else:
            path.write_text(files[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

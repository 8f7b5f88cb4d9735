"""The tables are those of wit/engine, and fit the engine that is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import wasmtime

import extract
import generate
import wit
from conftest import ROOT
from hermetic_smtp import instance, schema, shapes
from hermetic_smtp.abi import MAX_FLAT_PARAMETERS, flat_size, layout

ENGINE = Path(instance.__file__).with_name("engine.wasm")


def test_generated_files_are_what_wit_says():
    for path, text in generate.Writer().write().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python generate.py`"


def test_names_and_orders_are_those_of_wit():
    """Beside the generator: the table as it was imported, against the WIT as it was read."""
    _, interfaces = wit.read(ROOT / "wit" / "engine")
    seen = 0
    for interface in ("types", "server", "client"):
        for definition in interfaces[interface].definitions:
            names = [definition.name, f"{interface}-{definition.name}"]
            table = next(getattr(schema, n.replace("-", "_")) for n in reversed(names) if hasattr(schema, n.replace("-", "_")))
            members = [name for name, _, _ in definition.members]
            if isinstance(table, shapes.Record):
                assert [name for name, _ in table.fields] == members
            elif isinstance(table, shapes.Variant):
                assert [name for name, _, _ in table.cases] == members
            elif isinstance(table, shapes.Choice):
                assert [member.value for member in table.members] == members
            elif isinstance(table, shapes.Bits):
                assert list(table.names) == members
                assert [flag.name.lower().replace("_", "-") for flag in table.make] == members
            else:
                assert definition.kind == "type"
            seen += 1
    assert seen > 50


def test_functions_have_the_core_signatures_of_the_engine():
    module = wasmtime.Module(wasmtime.Engine(), ENGINE.read_bytes())
    exports = {export.name: export.type for export in module.exports}
    for name in ("server", "client"):
        half = instance.half(name)
        for function, exported in half.exports.items():
            of = half.functions[function]
            flat = (of.kind == "method") + sum(flat_size(shape) for _, shape in of.parameters)
            found = exports[exported.decode()]
            assert len(found.params) == (flat if flat <= MAX_FLAT_PARAMETERS else 1), function
            if of.kind != "constructor":
                assert [str(result) for result in found.results] == ["i32"]
                assert half.posts[function].decode() in exports


def test_the_engine_wants_nothing_but_handles():
    module = wasmtime.Module(wasmtime.Engine(), ENGINE.read_bytes())
    assert {wanted.name for wanted in module.imports} == {"[resource-new]session", "[resource-drop]session"}


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (shapes.BOOL, (1, 1)),
        (shapes.STRING, (8, 4)),
        (shapes.OptionOf(shapes.U64), (16, 8)),
        (shapes.OptionOf(shapes.BOOL), (2, 1)),
        (shapes.TupleOf((shapes.BOOL, shapes.U32, shapes.U16)), (12, 4)),
        (shapes.ResultOf(None, shapes.U16), (4, 2)),
        (shapes.ResultOf(None, None), (1, 1)),
    ],
)
def test_layout(shape, wanted):
    assert layout(shape) == wanted


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"", "no WebAssembly"),
        (b"\0asm\1\0\0\0", "not a component"),
        (b"\0asm\x0d\0\1\0", "no core module"),
        (b"\0asm\x0d\0\1\0\1\x08\0asm\1\0\0\0", "exports no"),
        (b"\0asm\x0d\0\1\0\1\x09\0asm\1\0\0\0", "cut short"),
        (b"\0asm\x0d\0\1\0\1\xff\xff\xff\xff\xff\xff", "no number"),
    ],
)
def test_extract_says_what_a_file_is_not(octets, says):
    with pytest.raises(extract.NoEngine, match=says):
        extract.extract(octets)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("package a:b@1.0.0;\ninterface x { record y { a u8 } }", "':' was expected, not 'a'|':' was expected"),
        ("package a:b@1.0.0;\ninterface x { union y {} }", "use, type, record"),
        ("package a:b@1.0.0;\ninterface x { record y { a: § } }", "begins nothing"),
    ],
)
def test_wit_that_is_not_known_is_refused(tmp_path, text, says):
    (tmp_path / "x.wit").write_text(text, encoding="utf-8")
    with pytest.raises(wit.Unreadable, match=says):
        wit.read(tmp_path)

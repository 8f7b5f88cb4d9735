"""What is built is complete: a pure wheel with the engine in it, by itself and from a source distribution."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from conftest import PACKAGE, ROOT
from hermetic_smtp import instance

LICENCES = ("LICENSE-MIT", "LICENSE-APACHE")
ENGINE = Path(instance.__file__).with_name("engine.wasm")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the package's folder, so that nothing is written into this one."""
    folder = tmp_path_factory.mktemp("package") / "core" / "python"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "dist", "*.egg-info")
    shutil.copytree(PACKAGE, folder, ignore=ignored)
    for name in LICENCES:
        shutil.copy(ROOT / name, folder.parent.parent)
    return folder


def pip(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"], cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**{k: v for k, v in os.environ.items() if k != "HERMETIC_ENGINE"}, **env}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def component(tmp_path_factory) -> Path:
    """A component around our core module: enough for the build, which looks for nothing else."""
    core = ENGINE.read_bytes()
    size, rest = b"", len(core)
    while rest >= 0x80:
        size += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    path = tmp_path_factory.mktemp("component") / "engine.wasm"
    path.write_bytes(b"\0asm\x0d\0\1\0\1" + size + bytes([rest]) + core)
    return path


def test_a_wheel(tree, tmp_path, component):
    ran = pip("wheel", ".", "--no-deps", "--wheel-dir", str(tmp_path), cwd=tree, HERMETIC_ENGINE=str(component))
    assert ran.returncode == 0, ran.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == "hermetic_smtp-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        assert packed.read("hermetic_smtp/engine.wasm") == ENGINE.read_bytes()
        metadata = packed.read("hermetic_smtp-0.1.0.dist-info/METADATA").decode()
        assert "pytest11" in packed.read("hermetic_smtp-0.1.0.dist-info/entry_points.txt").decode()
    assert {f"hermetic_smtp/{name}" for name in ("py.typed", *LICENCES)} <= names
    assert "License-Expression: MIT OR Apache-2.0" in metadata
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], capture_output=True, text=True, timeout=300, check=False
    )
    assert installed.returncode == 0, installed.stderr
    program = (
        "import asyncio, hermetic_smtp as h\n"
        "class Inbox:\n"
        "    def message(self, session, message): print(message.rcpt_tos)\n"
        "async def main():\n"
        "    async with h.Server(Inbox()) as server, h.Client('127.0.0.1', server.port) as client:\n"
        "        print([str(d) for d in await client.send('a@b.test', ['c@d.test'], b'A: b\\r\\n\\r\\n')])\n"
        "asyncio.run(main())\n"
    )
    ran = subprocess.run([python, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.startswith("['c@d.test']\n['c@d.test: accepted (reply) 2."), ran.stdout + ran.stderr


def test_a_source_distribution_has_the_engine(tree, tmp_path, component):
    build = "import hatchling.build as b, sys; print(b.build_sdist(sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=tree, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "HERMETIC_ENGINE": str(component)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (packed,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(packed, tmp_path)
    unpacked = tmp_path / "hermetic_smtp-0.1.0"
    ran = pip("wheel", ".", "--no-deps", "--wheel-dir", str(tmp_path), cwd=unpacked)
    assert ran.returncode == 0, ran.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert wheel.read("hermetic_smtp/engine.wasm") == ENGINE.read_bytes()
        assert {f"hermetic_smtp/{name}" for name in LICENCES} <= set(wheel.namelist())


def test_without_an_engine_it_says_what_to_type(tree, tmp_path):
    ran = pip("wheel", ".", "--no-deps", "--wheel-dir", str(tmp_path), cwd=tree)
    assert ran.returncode != 0 and "cargo run -p engine-wasm -- core/out" in ran.stdout + ran.stderr
    other = tmp_path / "other.wasm"
    other.write_bytes(b"\0asm\1\0\0\0")
    ran = pip("wheel", ".", "--no-deps", "--wheel-dir", str(tmp_path), cwd=tree, HERMETIC_ENGINE=str(other))
    assert ran.returncode != 0 and "not a component" in ran.stdout + ran.stderr


def test_types_are_strict():
    ran = subprocess.run([sys.executable, "-m", "mypy"], cwd=PACKAGE, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout

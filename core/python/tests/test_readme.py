"""The README's commands run as they are written, in order, in one shell, from the root of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from conftest import PACKAGE, ROOT
from hermetic_smtp import instance

BLOCK = re.compile(r"```(python|sh)?\n(.*?)```", re.DOTALL)


def test_every_command_runs_as_written(tmp_path):
    """A copy of what the commands need stands in for the repository. Where there is no CI, `cargo` is replaced by one that takes the
    engine that is installed: this test is not for the Rust build."""
    root = tmp_path / "hermetic"
    package = root / "core" / "python"
    package.parent.mkdir(parents=True)
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", ".*", "engine.wasm", "dist"))
    tools = tmp_path / "tools"
    tools.mkdir()
    artefact = ROOT / "core" / "out" / "engine.wasm"
    if os.environ.get("CI") == "true" and not artefact.is_file():
        raise AssertionError(f"{artefact} is missing: cargo run -p engine-wasm -- core/out")
    if not artefact.is_file():
        artefact = tmp_path / "engine.wasm"
        artefact.write_bytes(around(Path(instance.__file__).with_name("engine.wasm").read_bytes()))
    # What the command writes is what it wrote already: the whole workspace is not built a second time here.
    (tools / "cargo").write_text(
        f'#!/bin/sh\n[ "$*" = "run -p engine-wasm -- core/out" ] || exit 64\nmkdir -p core/out && cp {artefact} core/out/engine.wasm\n'
    )
    (tools / "cargo").chmod(0o755)
    script = ["set -eu"]
    said = []
    for language, text in BLOCK.findall((PACKAGE / "README.md").read_text(encoding="utf-8")):
        if language == "python":
            name = re.match(r"# (\S+\.py)\n", text)
            assert name, f"this block does not say which file it is:\n{text}"
            (root / name[1]).write_text(text, encoding="utf-8")
        elif language == "sh":
            script.append(text)
        else:
            said.append(text)
    assert len(script) == 5
    env = {k: v for k, v in os.environ.items() if k not in ("HERMETIC_ENGINE", "VIRTUAL_ENV", "PYTHONPATH")}
    ran = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=root, capture_output=True, text=True, timeout=300, check=False,
        env={**env, "PATH": f"{tools}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # What the README says comes, comes.
    for line in "".join(said[:2]).splitlines():
        assert line in ran.stdout.splitlines(), (line, ran.stdout, ran.stderr)
    assert "3 passed" in ran.stdout


def around(core: bytes) -> bytes:
    """The smallest component around a core module."""
    size, rest = b"", len(core)
    while rest >= 0x80:
        size += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return b"\0asm\x0d\0\1\0\1" + size + bytes([rest]) + core


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)", (PACKAGE / "README.md").read_text(encoding="utf-8")):
        path = PACKAGE / target
        # core/README.md is written beside this package; it has to be there where all of the repository is.
        assert path.exists() or target == "../README.md" and os.environ.get("CI") != "true", target

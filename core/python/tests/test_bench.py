"""The benchmark's commands work; what they measure here means nothing."""

from __future__ import annotations

import subprocess
import sys

from conftest import PACKAGE, program


def bench(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "bench/bench.py", *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=280, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_sessions():
    assert "1000 sessions, each after a message" in bench("--sessions")


def test_calls():
    assert "one core call by wasmtime_func_call_unchecked" in bench("--calls")


def test_beside_aiosmtpd():
    program("smtp-source")
    said = bench("--rounds", "1", "--seconds", "0.1")
    assert "M1 ratio" in said and "M2 ratio" in said

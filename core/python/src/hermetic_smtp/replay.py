"""Runs recorded sessions again and finds the first difference.

Owns the comparison, and how it is told. Refuses to know the format (`recording.py`). `FileError` for a file that cannot be run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermetic_smtp import schema
from hermetic_smtp.errors import EngineError, FileError, MisuseError
from hermetic_smtp.instance import Engine
from hermetic_smtp.recording import RECORDED, Call, Recording, Trap, read, run
from hermetic_smtp.schema import VERSION
from hermetic_smtp.transcribe import to_json
from hermetic_smtp.values import ClientStep, Step


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a session went another way: the line, the call, the place in its outcome, and both values as JSON has them."""

    path: Path
    line: int
    call: str
    place: str
    recorded: Any
    came: Any

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.call}: {self.place}: {self.recorded!r} was recorded, {self.came!r} came"


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of one file."""

    path: Path
    calls: int
    difference: Difference | None
    note: str
    """What else is to be said: that it was recorded with another version of the engine's interface."""

    @property
    def equal(self) -> bool:
        """Whether every outcome was the recorded one."""
        return self.difference is None


def _outcome(half: str, call: Call) -> Any:
    if isinstance(call.outcome, Trap):
        # Runtimes have different words for it.
        return {"trap": "…"}
    if isinstance(call.outcome, (Step, ClientStep)):
        return {"step": to_json(RECORDED[half][call.function].result, call.outcome)}
    return {"misuse": to_json(schema.misuse, call.outcome)}


def _first(place: str, recorded: Any, came: Any) -> tuple[str, Any, Any] | None:
    """The first place at which two values of JSON are not the same."""
    if isinstance(recorded, dict) and isinstance(came, dict) and list(recorded) == list(came):
        for name, value in recorded.items():
            if found := _first(f"{place}.{name}" if place else name, value, came[name]):
                return found
        return None
    if isinstance(recorded, list) and isinstance(came, list) and len(recorded) == len(came):
        for at, value in enumerate(recorded):
            if found := _first(f"{place}[{at}]", value, came[at]):
                return found
        return None
    return None if recorded == came and type(recorded) is type(came) else (place, recorded, came)


def compare(path: Path, recording: Recording, came: Sequence[Call]) -> Difference | None:
    """The first difference between what was recorded and what came."""
    for at, was in enumerate(recording.calls):
        if at >= len(came):
            return Difference(path, was.line, was.function, "trap", "a call after it", "no call can follow")
        if was.outcome == came[at].outcome:
            continue
        found = _first("", _outcome(recording.half, was), _outcome(recording.half, came[at]))
        if found:
            return Difference(path, was.line, was.function, *found)
    return None


def replay(path: str | os.PathLike[str], *, engine: Engine | None = None) -> Replay:
    """Runs a `.session` file again.

    Raises `FileError` for a file that is none, or whose options no session can have.
    """
    path = Path(path)
    recording = read(path)
    try:
        came = run(recording.half, recording.options, recording.calls, engine)
    except (MisuseError, EngineError) as error:
        raise FileError(f"{path}:1: no session can be made of these options: {error}") from None
    wit = recording.about["wit"]
    note = "" if wit == VERSION else f"recorded with hermetic:engine {wit}, run with {VERSION}"
    return Replay(path, len(recording.calls), compare(path, recording, came), note)

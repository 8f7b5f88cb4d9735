"""`.session` files: what is put into a session and what comes out, written down. `wit/session.md` is the format.

Owns writing and reading of the format, and the masking of secrets. Refuses to run what it reads (`replay.py`). Reading fails with
`FileError`, which names the file, the line, and what was expected; writing never fails a session: what cannot be kept is logged.

What was said in AUTH is replaced before anything is written: base64 by as much base64 of zeros. The outcomes in the file are then
those of the masked input, from an engine that runs the session again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermetic_smtp import schema
from hermetic_smtp import values as v
from hermetic_smtp.errors import EngineError, FileError, HermeticError
from hermetic_smtp.instance import Engine, Instance
from hermetic_smtp.schema import FUNCTIONS, VERSION
from hermetic_smtp.shapes import Shape
from hermetic_smtp.transcribe import Unlike, from_json, to_json

logger = logging.getLogger("hermetic_smtp")

FORMAT = 1
"""The version of the format."""

LARGEST = 256 * 1024 * 1024
"""Octets of a file that is read."""

OPTIONS: dict[str, Shape] = {"server": schema.server_options, "client": schema.client_options}
RECORDED = {half: {n: f for n, f in functions.items() if f.kind == "method" and n != "freeze"} for half, functions in FUNCTIONS.items()}
"""The functions that stand in a file."""

_AUTH = re.compile(rb"(?im)^AUTH[ \t]+[^ \t\r\n]+[ \t]+([^\r\n]+)")
_RESPONSE = re.compile(rb"[^\r\n]*")


@dataclass(frozen=True, slots=True)
class Trap:
    """The engine failed."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One line: a call and its outcome, a step, a `Misuse`, or a `Trap`. `line` is its number in the file, from 1."""

    function: str
    arguments: tuple[Any, ...]
    outcome: Any
    line: int = 0


@dataclass(frozen=True, slots=True)
class Recording:
    """One session. `about` is the header as it stands there."""

    half: str
    options: Any
    calls: Sequence[Call]
    about: dict[str, Any]


# Writing.


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _call_line(half: str, call: Call) -> bytes:
    function = RECORDED[half][call.function]
    line: dict[str, Any] = {"call": call.function}
    for (name, shape), value in zip(function.parameters, call.arguments, strict=True):
        line[name] = to_json(shape, value)
    if isinstance(call.outcome, Trap):
        line["trap"] = call.outcome.text
    elif isinstance(call.outcome, (v.Step, v.ClientStep)):
        line["step"] = to_json(function.result, call.outcome)
    else:
        line["misuse"] = to_json(schema.misuse, call.outcome)
    return _line(line)


def write(recording: Recording) -> bytes:
    """The octets of a file."""
    header = {
        "hermetic-session": FORMAT,
        "half": recording.half,
        "wit": VERSION,
        **recording.about,
        "options": to_json(OPTIONS[recording.half], recording.options),
    }
    lines = [_line(header), *(_call_line(recording.half, call) for call in recording.calls)]
    content = b"".join(lines)
    return content + _line({"end": len(lines), "sha256": hashlib.sha256(content).hexdigest()})


def run(half: str, options: object, calls: Sequence[Call], engine: Engine | None) -> list[Call]:
    """The same calls once more, with the outcomes that this engine gives. After a trap nothing follows."""
    instance = Instance(half, engine)
    found = []
    try:
        instance.construct(options)
        for call in calls:
            try:
                outcome = instance.call(call.function, *call.arguments)
            except EngineError as error:
                outcome = Trap(str(error))
            found.append(Call(call.function, call.arguments, outcome, call.line))
            if isinstance(outcome, Trap):
                break
    finally:
        instance.close()
    return found


def _zeros(secret: bytes) -> bytes:
    """Base64 of the same length that says zeros; what is none stays none."""
    return re.sub(rb"[^=\s*]", b"A", secret)


def masked(half: str, calls: Sequence[Call]) -> tuple[list[Call], bool]:
    """The calls with their secrets replaced, and whether there were any. Their outcomes are those of before."""
    if half == "client":
        return _masked_client(calls)
    stream = bytearray()
    begins, responses = [], []
    for call in calls:
        begins.append(len(stream))
        if call.function == "receive" and isinstance(call.outcome, v.Step):
            stream += call.arguments[1][: call.outcome.consumed]
        if isinstance(call.outcome, v.Step) and call.outcome.transmit.rpartition(b"\r\n")[0].rpartition(b"\r\n")[2][:4] == b"334 ":
            responses.append(len(stream))
    # Input that the last calls did not consume is masked as well.
    if calls and calls[-1].function == "receive":
        stream[begins[-1] :] = calls[-1].arguments[1]
    places = [found.span(1) for found in _AUTH.finditer(stream)]
    places += [found.span() for at in responses if (found := _RESPONSE.match(stream, at))]
    if not any(end > begin for begin, end in places):
        return list(calls), False
    for begin, end in places:
        stream[begin:end] = _zeros(bytes(stream[begin:end]))
    found_calls = []
    for call, begin in zip(calls, begins, strict=True):
        if call.function == "receive":
            octets = bytes(stream[begin : begin + len(call.arguments[1])])
            call = Call(call.function, (call.arguments[0], octets + call.arguments[1][len(octets) :]), call.outcome)
        found_calls.append(call)
    return found_calls, True


def _masked_client(calls: Sequence[Call]) -> tuple[list[Call], bool]:
    found = []
    for call in calls:
        if call.function in ("login", "respond") and call.arguments[-1]:
            call = Call(call.function, (*call.arguments[:-1], b"\0" * len(call.arguments[-1])), call.outcome)
        found.append(call)
    return found, any(call.function in ("login", "respond") for call in calls)


class Recorder:
    """Writes one file a session into a folder, mode 0600.

    `most_octets`: what a session's calls may hold until it is given up; `most_files`: what this recorder writes at most.
    """

    def __init__(self, folder: str | os.PathLike[str], *, most_octets: int = 16 * 1024 * 1024, most_files: int = 10_000) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.most_octets = most_octets
        self.most_files = most_files
        self.files = 0

    def begin(self, half: str, options: object, engine: Engine | None = None) -> Notes:
        """What a session takes as its `observer`."""
        return Notes(self, half, options, engine)

    def keep(self, recording: Recording) -> None:
        """Writes a file; what goes wrong is logged."""
        if self.files >= self.most_files:
            if self.files == self.most_files:
                self.files += 1
                logger.warning("%s: %s sessions are recorded; no more are", self.folder, self.most_files)
            return
        self.files += 1
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self.folder / f"{stamp}-{os.getpid()}-{self.files}.session"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(write(recording))
        except OSError as error:
            logger.error("%s: a session could not be recorded: %s", path, error)


class Notes:
    """One session, while it runs."""

    def __init__(self, recorder: Recorder, half: str, options: object, engine: Engine | None) -> None:
        self._recorder = recorder
        self._half, self._options, self._engine = half, options, engine
        self._calls: list[Call] = []
        self._octets = 0
        self._over = False

    def called(self, function: str, arguments: Sequence[object], outcome: object) -> None:
        """A call was made."""
        if self._over:
            return
        if isinstance(outcome, EngineError):
            outcome = Trap(str(outcome))
        self._calls.append(Call(function, tuple(arguments), outcome))
        self._octets += 200 + sum(len(of) for of in arguments if isinstance(of, bytes)) + len(getattr(outcome, "transmit", b""))
        if self._octets > self._recorder.most_octets:
            self._over = True
            self._calls.clear()
            logger.warning("A session of more than %s octets is not recorded", self._recorder.most_octets)

    def ended(self) -> None:
        """The session was closed."""
        calls, self._calls = self._calls, []
        if self._over or not calls:
            return
        self._over = True
        about: dict[str, Any] = {"recorded": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
        calls, secrets = masked(self._half, calls)
        if secrets:
            about["masked"] = ["secrets"]
            try:
                calls = run(self._half, self._options, calls, self._engine)
            except HermeticError as error:
                logger.error("A session could not be recorded: %s", error)
                return
        self._recorder.keep(Recording(self._half, self._options, calls, about))


# Reading.


class _Reader:
    """Reads one file from the front to the end; knows where it is, for what is to be said."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 1

    def wrong(self, what: str) -> FileError:
        return FileError(f"{self.path}:{self.number}: {what}")

    def content(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                content = file.read(LARGEST + 1)
        except OSError as error:
            raise FileError(f"{self.path}: it cannot be read: {error.strerror}") from None
        if len(content) > LARGEST:
            raise FileError(f"{self.path}: it is larger than {LARGEST} octets, and a session is not")
        return content

    def members(self, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            raise self.wrong("this is no JSON; an object was expected") from None
        if not isinstance(value, dict):
            raise self.wrong("an object was expected")
        return value

    def value(self, place: str, shape: Shape | None, value: object) -> Any:
        try:
            return from_json(shape, value)
        except Unlike as error:
            raise self.wrong(f"{'.'.join((place, *error.path))}: {error.text}") from None

    def end(self, content: bytes) -> list[bytes]:
        """The lines before the last one, which says how many they are and their hash."""
        lines = content.split(b"\n")
        self.number = len(lines) - 1
        if lines.pop() or not lines:
            self.number += 1
            raise self.wrong("the file was cut short; a last line with `end` and `sha256` was expected")
        last = lines.pop()
        end = self.members(last)
        if "end" not in end or "sha256" not in end:
            raise self.wrong("the file was cut short; a last line with `end` and `sha256` was expected")
        if type(end["end"]) is not int or end["end"] != len(lines):
            raise self.wrong(f"`end` says {end['end']!r:.40} where {len(lines)} was expected: the file was changed")
        if end["sha256"] != hashlib.sha256(content[: len(content) - len(last) - 1]).hexdigest():
            raise self.wrong("`sha256` does not fit the lines before it: the file was changed")
        self.number = 1
        if not lines:
            raise self.wrong("a header was expected")
        return lines

    def header(self, line: bytes) -> tuple[str, Any, dict[str, Any]]:
        header = self.members(line)
        if "hermetic-session" not in header:
            raise self.wrong("a header with `hermetic-session` was expected")
        if header["hermetic-session"] != FORMAT or type(header["hermetic-session"]) is not int:
            raise self.wrong(f"the format's version {FORMAT} was expected, not {header['hermetic-session']!r:.40}")
        half = header.get("half")
        if not isinstance(half, str) or half not in OPTIONS:
            raise self.wrong(f"`half` was expected to be server or client, not {half!r:.40}")
        if not isinstance(header.get("wit"), str):
            raise self.wrong("`wit`, the version of hermetic:engine, was expected")
        if "options" not in header:
            raise self.wrong("`options` was expected")
        options = self.value("options", OPTIONS[half], header["options"])
        return half, options, {name: value for name, value in header.items() if name not in ("hermetic-session", "half", "options")}

    def call(self, half: str, line: dict[str, Any]) -> Call:
        name = line.get("call")
        function = RECORDED[half].get(name) if isinstance(name, str) else None
        if function is None or not isinstance(name, str):
            raise self.wrong(f"`call` was expected to be one of {', '.join(RECORDED[half])}, not {name!r:.40}")
        arguments = []
        for parameter, shape in function.parameters:
            if parameter not in line:
                raise self.wrong(f"{name}: the parameter `{parameter}` was expected")
            arguments.append(self.value(f"{name}.{parameter}", shape, line[parameter]))
        outcomes = [outcome for outcome in ("step", "misuse", "trap") if outcome in line]
        strange = set(line) - {"call", *outcomes, *(parameter for parameter, _ in function.parameters)}
        if strange:
            raise self.wrong(f"{name} has no `{min(strange)}`")
        if len(outcomes) != 1:
            raise self.wrong(f"{name}: exactly one of step, misuse and trap was expected, not {len(outcomes)}")
        value = line[outcomes[0]]
        if outcomes[0] == "trap":
            if not isinstance(value, str):
                raise self.wrong(f"{name}.trap: a text was expected")
            outcome: Any = Trap(value)
        else:
            outcome = self.value(f"{name}.{outcomes[0]}", function.result if outcomes[0] == "step" else schema.misuse, value)
        return Call(name, tuple(arguments), outcome, self.number)


def read(path: str | os.PathLike[str]) -> Recording:
    """A file, all of it. Lines of plugins are passed over. Raises `FileError`."""
    reader = _Reader(Path(path))
    lines = reader.end(reader.content())
    half, options, about = reader.header(lines[0])
    calls = []
    for line in lines[1:]:
        reader.number += 1
        value = reader.members(line)
        if "plugin" in value and "call" not in value:
            continue
        calls.append(reader.call(half, value))
    return Recording(half, options, calls, about)

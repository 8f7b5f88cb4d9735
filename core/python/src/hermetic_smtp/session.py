"""Sessions without sockets: octets, answers and times in, steps out.

Owns the order of calls as `wit/engine` has it, in Python's words, and what a misuse says. Refuses to know sockets, clocks and
tasks (`server.py`, `client.py`). Each session has a sandbox of its own, which `close` gives back; `with` does so too.

`MisuseError` when the caller errs, and the session is unchanged; `EngineError` when the engine fails, and the session has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from hermetic_smtp import values as v
from hermetic_smtp.errors import EngineError, MisuseError
from hermetic_smtp.instance import Engine, Instance, Known, Prepared

NEVER = 0xFFFF_FFFF_FFFF_FFFF
"""`wake` of a step that wants no `tick`."""

_EXPECTED = {
    v.MisuseNoQuestionOpen: "no question is open. Answer once, after a step whose need is NeedAnswer",
    v.MisuseQuestionOpen: "a question is open. Answer it first",
    v.MisuseClosed: "the session has ended; its last step's need was close, or it was frozen. Make another one",
    v.MisuseNotStarted: "`start` comes first, and once",
}


def _sentence(function: str, misuse: v.Misuse) -> str:
    if isinstance(misuse, v.MisuseWrongAnswer):
        return f"{function}: another question is open: {misuse.value}. Give the answer of that name."
    if isinstance(misuse, (v.MisuseBadAnswer, v.MisuseBadState, v.MisuseBadValue, v.MisuseBadImage)):
        return f"{function}: {misuse.value.rstrip('.')}."
    return f"{function}: {_EXPECTED[type(misuse)]}."


class Observer(Protocol):
    """Who hears of every call of a session (`recording.py`)."""

    def called(self, function: str, arguments: Sequence[object], outcome: object) -> None:
        """A call was made. `outcome` is the step, the `Misuse`, or the `EngineError`."""

    def ended(self) -> None:
        """The session was closed; not if it was frozen, for then it goes on."""


class _Session:
    """What both halves have in common."""

    _half = ""

    def __init__(self, options: object, *, engine: Engine | None = None, observer: Observer | None = None) -> None:
        self._observer = observer
        self._instance = Instance(self._half, engine)
        try:
            self._instance.construct(options)
        except BaseException:
            self._instance.close()
            raise

    def _call(self, function: str, *arguments: object) -> Any:
        try:
            outcome = self._instance.call(function, *arguments)
        except EngineError as error:
            if self._observer:
                self._observer.called(function, arguments, error)
            raise
        if self._observer:
            self._observer.called(function, arguments, outcome)
        if type(outcome) in _MISUSES:
            raise MisuseError(_sentence(function, outcome), outcome)
        return outcome

    def _receive(self, now: int, octets: bytes) -> Any:
        if self._observer:
            return self._call("receive", now, octets)
        outcome = self._instance.receive(now, octets)
        if type(outcome) in _MISUSES:
            raise MisuseError(_sentence("receive", outcome), outcome)
        return outcome

    def freeze(self) -> bytes:
        """The whole state as octets, for `thaw` with the same options and the same engine. The session is closed thereby."""
        outcome = self._instance.call("freeze")
        if isinstance(outcome, bytes):
            self._instance.close()
            self._observer = None
            return outcome
        raise MisuseError(_sentence("freeze", outcome), outcome)

    @classmethod
    def _thaw(cls, options: object, image: bytes, engine: Engine | None, observer: Observer | None) -> Any:
        session = cls.__new__(cls)
        session._observer = observer
        session._instance = Instance(cls._half, engine)
        try:
            misuse = session._instance.thaw(options, image)
        except BaseException:
            session._instance.close()
            raise
        if misuse is not None:
            session._instance.close()
            raise MisuseError(_sentence("thaw", misuse), misuse)
        return session

    def close(self) -> None:
        """Gives the sandbox back. Closing twice is nothing."""
        self._instance.close()
        observer, self._observer = self._observer, None
        if observer:
            observer.ended()

    @property
    def memory(self) -> int:
        """Octets of the sandbox's memory; 0 when it is closed. Pages that were never touched cost nothing."""
        octets: int = self._instance.memory
        return octets

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


_MISUSES = frozenset(
    (
        v.MisuseNoQuestionOpen,
        v.MisuseQuestionOpen,
        v.MisuseWrongAnswer,
        v.MisuseBadAnswer,
        v.MisuseClosed,
        v.MisuseNotStarted,
        v.MisuseBadState,
        v.MisuseBadValue,
        v.MisuseBadImage,
    )
)


class ServerSession(_Session):
    """One SMTP or LMTP session with a client, as a value.

    After each step: write `transmit`, keep `body`, then meet `need`, and call `tick` at `wake` if nothing happens before. Input that
    was not consumed is given again once the need is met. `now` is in milliseconds on one monotonic clock.
    """

    _half = "server"

    def __init__(self, options: v.ServerOptions | Prepared, *, engine: Engine | None = None, observer: Observer | None = None) -> None:
        super().__init__(options, engine=engine, observer=observer)

    def __enter__(self) -> ServerSession:
        return self

    @classmethod
    def thaw(cls, options: v.ServerOptions, image: bytes, *, engine: Engine | None = None, observer: Observer | None = None) -> ServerSession:
        """The session that `freeze` wrote down. Raises `MisuseError` for octets that are none."""
        session: ServerSession = cls._thaw(options, image, engine, observer)
        return session

    def start(self, now: int) -> v.Step:
        """The connection is open. Once."""
        step: v.Step = self._call("start", now)
        return step

    def receive(self, now: int, octets: bytes) -> v.Step:
        """Octets from the peer, or what is left of them. May be empty: then only what is known already is worked on."""
        step: v.Step = self._receive(now, octets)
        return step

    def secured(self, now: int, mechanisms: Sequence[str]) -> v.Step:
        """The handshake that `NeedStartTls` asked for is done; these SASL mechanisms may now be offered."""
        step: v.Step = self._call("secured", now, mechanisms)
        return step

    def tick(self, now: int) -> v.Step:
        """The time has come."""
        step: v.Step = self._call("tick", now)
        return step

    def answer(self, now: int, answer: v.Answer | Known) -> v.Step:
        """The answer to the question of the last step's `NeedAnswer`."""
        if isinstance(answer, Known):
            if not self._observer:
                outcome = self._instance.answer(now, answer)
                if type(outcome) in _MISUSES:
                    raise MisuseError(_sentence("answer", outcome), outcome)
                quick: v.Step = outcome
                return quick
            step: v.Step = self._call("answer", now, answer.answer)
            return step
        step = self._call("answer", now, answer)
        return step

    def drain(self, now: int, farewell: v.Refusal) -> v.Step:
        """Ends the session with this reply as soon as no transaction is open, which may be now."""
        step: v.Step = self._call("drain", now, farewell)
        return step


class ClientSession(_Session):
    """One SMTP or LMTP session with a server, as a value.

    After each step: write `transmit`, then the pieces of `content`, then meet `need`, and call `tick` at `wake` if nothing happens
    before, even while writing.
    """

    _half = "client"

    def __init__(self, options: v.ClientOptions, *, engine: Engine | None = None, observer: Observer | None = None) -> None:
        super().__init__(options, engine=engine, observer=observer)

    def __enter__(self) -> ClientSession:
        return self

    @classmethod
    def thaw(cls, options: v.ClientOptions, image: bytes, *, engine: Engine | None = None, observer: Observer | None = None) -> ClientSession:
        """The session that `freeze` wrote down. Raises `MisuseError` for octets that are none."""
        session: ClientSession = cls._thaw(options, image, engine, observer)
        return session

    def start(self, now: int) -> v.ClientStep:
        """The connection is open. Once."""
        step: v.ClientStep = self._call("start", now)
        return step

    def receive(self, now: int, octets: bytes) -> v.ClientStep:
        """Octets from the peer: all that have been read."""
        step: v.ClientStep = self._receive(now, octets)
        return step

    def secured(self, now: int) -> v.ClientStep:
        """The handshake that `ClientNeedStartTls` asked for is done."""
        step: v.ClientStep = self._call("secured", now)
        return step

    def tick(self, now: int) -> v.ClientStep:
        """The time has come."""
        step: v.ClientStep = self._call("tick", now)
        return step

    def lost(self, now: int) -> v.ClientStep:
        """The peer has closed the connection, or it has broken."""
        step: v.ClientStep = self._call("lost", now)
        return step

    def login(self, now: int, mechanism: str, initial: bytes | None) -> v.ClientStep:
        """AUTH by one of the peer's mechanisms, with an initial response if the mechanism has one."""
        step: v.ClientStep = self._call("login", now, mechanism, initial)
        return step

    def respond(self, now: int, response: bytes) -> v.ClientStep:
        """The response to a challenge."""
        step: v.ClientStep = self._call("respond", now, response)
        return step

    def cancel(self, now: int) -> v.ClientStep:
        """Gives up the AUTH exchange; its outcome is that of a refused login."""
        step: v.ClientStep = self._call("cancel", now)
        return step

    def deliver(self, now: int, transaction: v.Transaction) -> v.ClientStep:
        """Begins a transaction. Addresses that cannot be written in a command are a misuse."""
        step: v.ClientStep = self._call("deliver", now, transaction)
        return step

    def content(self, now: int, octets: bytes, last: bool) -> v.ClientStep:
        """The next octets of the content, without dots of transparency; `last` with the last ones, which may be none."""
        step: v.ClientStep = self._call("content", now, octets, last)
        return step

    def quit(self, now: int) -> v.ClientStep:
        """Ends the session: by QUIT if it is ready, otherwise at once."""
        step: v.ClientStep = self._call("quit", now)
        return step

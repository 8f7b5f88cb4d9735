"""What can go wrong, by who is at fault.

`MisuseError`: the program that uses this package. `EngineError`: the engine, that is, us. `PeerError`: the other end of the
connection; what it said is in `reply`. `FileError`: a `.session` file. All of them are `HermeticError`.
"""

from __future__ import annotations

from hermetic_smtp.values import Failure, Misuse, Reply


class HermeticError(Exception):
    """Everything that this package raises on purpose."""


class MisuseError(HermeticError, ValueError):
    """The caller's mistake: a call out of order, after the end, or with a value that does not fit. The text says what was
    expected. The session is unchanged.

    `misuse`: what the engine called it; None where the engine was not asked.
    """

    def __init__(self, text: str, misuse: Misuse | None = None) -> None:
        super().__init__(text)
        self.misuse = misuse


class EngineError(HermeticError, RuntimeError):
    """The engine trapped, used up its allowance for one call, or left nonsense behind. Its session has ended, no other has."""


class PeerError(HermeticError, ConnectionError):
    """The session with the peer ended against our will.

    `failure`: what the engine made of it; None where the connection could not be made.
    """

    def __init__(self, text: str, failure: Failure | None = None) -> None:
        super().__init__(text)
        self.failure = failure

    @property
    def reply(self) -> Reply | None:
        """What the peer said, if that is why."""
        return self.failure.reply if self.failure else None


class LoginError(PeerError):
    """The peer refused the login. The session goes on."""

    def __init__(self, text: str, reply: Reply | None = None) -> None:
        super().__init__(text)
        self._reply = reply

    @property
    def reply(self) -> Reply | None:
        """What the peer said; None if it was never asked."""
        return self._reply


class FileError(HermeticError, ValueError):
    """A `.session` file that cannot be read: the text has its name, the line, and what was expected."""

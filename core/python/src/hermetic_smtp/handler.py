"""What a server asks, and how it is answered.

Owns `Handler`, and what an answer may look like: nothing for yes, a text for yes in other words, a `Refusal` (returned, or raised as
`Refused`) for no. Refuses to know connections (`connection.py`). What is no answer is the handler's mistake: the peer is told to try
again later, and the log says what was expected.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from hermetic_smtp import address
from hermetic_smtp.errors import HermeticError, MisuseError
from hermetic_smtp.values import Hello, MessageFacts, Questions, Recipient, Refusal, Sender

if TYPE_CHECKING:
    from hermetic_smtp.connection import Session

Verdict = Union[None, str, Refusal]
"""None: yes. A text: yes, with it. A `Refusal`: no."""

_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})")


class Refused(HermeticError):
    """Raised by a handler: no, with this refusal."""

    def __init__(self, code: int, status: str = "", text: str = "Refused") -> None:
        self.refusal = refuse(code, status, text)
        super().__init__(f"{code} {status} {text}")


def refuse(code: int, status: str = "", text: str = "Refused") -> Refusal:
    """A refusal: `refuse(550, "5.1.1", "No such user")`. 421 ends the session.

    Raises `MisuseError` for a code that refuses nothing, and for a status of another class than the code's. RFC 3463.
    """
    if not 400 <= code <= 599:
        raise MisuseError(f"{code} refuses nothing: a code from 400 to 599 was expected.")
    subject = detail = 0
    if status:
        parts = _STATUS.fullmatch(status)
        if not parts or int(parts[1]) != code // 100:
            raise MisuseError(f"{status!r} does not go with {code}: {code // 100}.x.y was expected.")
        subject, detail = int(parts[2]), int(parts[3])
    return Refusal(code, subject, detail, text)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client logs in with. `authorization` is the identity that it wants to act as, if it named another one (RFC 4616)."""

    mechanism: str
    username: str
    password: str = field(repr=False)
    authorization: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is complete. After `message` has said yes, it is the handler's."""

    sender: Sender
    recipients: Sequence[Recipient]
    content: bytes = field(repr=False)
    facts: MessageFacts

    @property
    def mail_from(self) -> str:
        """The reverse-path as text; empty for the null one."""
        return address.text(self.sender)

    @property
    def rcpt_tos(self) -> list[str]:
        """The accepted forward-paths as text, in order."""
        return [address.text(recipient) for recipient in self.recipients]

    def parsed(self) -> email.message.EmailMessage:
        """The content, read by the standard library. Nothing of that is checked."""
        return email.message_from_bytes(self.content, policy=email.policy.SMTP)


class Handler:
    """What a server wants to know. Write those of these methods that you care for, in a class of this or of no base; each may be
    `async` or not. What is not written is not asked: the answer is yes, no login is offered, and a message that nobody looks at
    is accepted and dropped.
    """

    async def connection(self, session: Session) -> Verdict:
        """May this client speak?"""

    async def hello(self, session: Session, hello: Hello) -> Verdict:
        """EHLO, HELO or LHLO."""

    async def login(self, session: Session, credentials: Credentials) -> Verdict | bool:
        """AUTH: None or True for yes, False for 535 5.7.8. With this method AUTH is offered inside TLS."""

    async def sender(self, session: Session, sender: Sender) -> Verdict:
        """MAIL."""

    async def recipient(self, session: Session, recipient: Recipient) -> Verdict:
        """RCPT."""

    async def verify(self, session: Session, argument: str) -> Verdict:
        """VRFY: a text is the mailbox, None neither yes nor no."""

    async def data(self, session: Session) -> Verdict:
        """May the content begin?"""

    async def message(self, session: Session, message: Message) -> Verdict | Sequence[Verdict]:
        """The message has come. A list answers for each recipient, in order (LMTP and PRDR tell the client each of them)."""


Hook = Union[Callable[..., Any], None]
HOOKS = ("connection", "hello", "login", "sender", "recipient", "verify", "data", "message")


class Hooks:
    """The methods that a handler has, by name; None for the others. Raises `MisuseError` for a handler without any."""

    connection: Hook
    hello: Hook
    login: Hook
    sender: Hook
    recipient: Hook
    verify: Hook
    data: Hook
    message: Hook

    def __init__(self, handler: object) -> None:
        found = 0
        for name in HOOKS:
            method: Any = getattr(handler, name, None)
            if getattr(method, "__func__", method) is getattr(Handler, name):
                method = None
            if method is not None and not callable(method):
                raise MisuseError(f"{type(handler).__name__}.{name} was expected to be a method.")
            found += method is not None
            setattr(self, name, method)
        if not found:
            raise MisuseError(f"{type(handler).__name__} has none of the methods {', '.join(HOOKS)}: one was expected.")

    def unasked(self) -> Questions:
        """The questions that nobody waits for. The envelope is asked for where a message is."""
        none = Questions(0)
        envelope = self.message is not None
        return (
            (none if self.connection else Questions.CONNECTION)
            | (none if self.hello else Questions.HELLO)
            | Questions.XCLIENT
            | (none if self.sender or envelope or self.recipient else Questions.SENDER)
            | (none if self.recipient or envelope else Questions.RECIPIENTS)
            | (none if self.verify else Questions.VERIFY)
            | (none if self.data else Questions.DATA)
            | (none if self.message else Questions.MESSAGE)
        )

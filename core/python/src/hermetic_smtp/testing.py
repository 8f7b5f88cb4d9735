"""A server for tests: it keeps what it is sent and does what it was told.

Owns the script, rules that say where in a session a client is refused, kept waiting or cut off, and the thread in which the server
runs, so that tests need no asyncio. Refuses to know pytest (`pytest_plugin.py`). What is scripted wrongly is a `MisuseError` at once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from hermetic_smtp import address as addresses
from hermetic_smtp.connection import Session
from hermetic_smtp.errors import MisuseError
from hermetic_smtp.handler import Credentials, Message, Verdict, refuse
from hermetic_smtp.server import Server
from hermetic_smtp.values import Hello, Recipient, Refusal, Sender

T = TypeVar("T")

POINTS = ("connection", "hello", "login", "sender", "recipient", "data", "content", "message")
"""Where in a session a rule can be: what the client has just said, and the server has not answered yet."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was accepted, and who brought it."""

    mail_from: str
    rcpt_tos: list[str]
    content: bytes = field(repr=False)
    message: Message = field(repr=False)
    hello: str
    user: str | None
    tls: bool

    def parsed(self) -> Any:
        """The content as `email.message.EmailMessage`."""
        return self.message.parsed()


@dataclass(slots=True)
class Rule:
    """One instruction. `times`: how often it still works; None: always. `used`: how often it did."""

    at: str
    address: str | None
    times: int | None
    refusal: Refusal | None = None
    delay: float = 0.0
    drop: bool = False
    octets: int = 0
    keep: bool = False
    used: int = 0

    def fits(self, at: str, address: str | None) -> bool:
        """Whether it is about this."""
        return self.at == at and self.times != 0 and (self.address is None or self.address == address)

    def use(self) -> None:
        """Counts one use."""
        self.used += 1
        if self.times is not None:
            self.times -= 1


class SmtpServer:
    """A server in a thread of its own, at `host` and `port`.

    `messages` are those that were accepted, in order. `refuse`, `delay` and `drop` script it; the newest rule that fits wins.
    Options are those of `Server`. `most_messages`: how many are kept, further ones are told 452. `users`: names and passwords that may log in; none: AUTH is not offered.
    """

    def __init__(self, *, users: dict[str, str] | None = None, patience: float = 60.0, most_messages: int = 10_000, **options: Any) -> None:
        self.messages: list[Received] = []
        self.rules: list[Rule] = []
        self.sessions = 0
        """Connections so far."""
        self._users = users
        self._most_messages = most_messages
        self._lock = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp_server", daemon=True)
        self._closed = False
        handler = _Script(self)
        if users is None:
            handler.login = None  # type: ignore[method-assign,assignment]
        try:
            self._server = Server(handler, name=options.pop("name", "mx.example.test"), patience=patience, **options)
            self._thread.start()
            self._run(self._server.start())
        except BaseException:
            self.close()
            raise

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._server.host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    # The script.

    def _rule(self, rule: Rule) -> Rule:
        if rule.at not in POINTS:
            raise MisuseError(f"at={rule.at!r}: one of {', '.join(POINTS)} was expected.")
        if rule.address is not None and rule.at not in ("sender", "recipient", "message"):
            raise MisuseError(f"address: nobody is named at {rule.at}; sender, recipient or message was expected.")
        if rule.times is not None and rule.times < 1:
            raise MisuseError("times: 1 or more was expected, or None for always.")
        if rule.delay < 0 or rule.octets < 0:
            raise MisuseError("seconds and octets cannot be below 0.")
        with self._lock:
            self.rules.append(rule)
        return rule

    def refuse(
        self, address: str | None, code: int, status: str = "", text: str = "Refused", *, at: str = "recipient", times: int | None = None
    ) -> Rule:
        """Refuses a recipient, or with `at` something else; None is any address. `at="message"` with an address is that recipient's
        answer after the content (LMTP and PRDR), `code=421` ends the session."""
        if at == "content":
            raise MisuseError("refuse: nothing is answered while content comes; at='message' is behind it.")
        return self._rule(Rule(at, address, times, refusal=refuse(code, status, text)))

    def delay(self, seconds: float, *, at: str = "message", address: str | None = None, times: int | None = None) -> Rule:
        """Answers that much later."""
        if at == "content":
            raise MisuseError("delay: nothing is answered while content comes; at='message' is behind it.")
        return self._rule(Rule(at, address, times, delay=seconds))

    def drop(self, *, at: str, address: str | None = None, octets: int = 0, keep: bool = False, times: int | None = 1) -> Rule:
        """Drops the connection at exactly that point, without an answer. `at="content"`: after so many octets of it. `keep` with
        `at="message"`: the message is kept all the same, and the client does not know (RFC 1047)."""
        if octets and at != "content" or keep and at != "message":
            raise MisuseError("drop: octets go with at='content', keep goes with at='message'.")
        return self._rule(Rule(at, address, times, drop=True, octets=octets, keep=keep))

    def reset(self) -> None:
        """Forgets all rules and messages."""
        with self._lock:
            self.rules.clear()
            self.messages.clear()

    def wait_for(self, messages: int, timeout: float = 10.0) -> list[Received]:
        """Waits until at least so many messages have come; returns all. Raises `TimeoutError`."""
        end = time.monotonic() + timeout
        with self._lock:
            while len(self.messages) < messages:
                if not self._lock.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    raise TimeoutError(f"{len(self.messages)} messages came in {timeout} s; {messages} were expected")
            return list(self.messages)

    def close(self) -> None:
        """Ends it. Closing twice is nothing."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            try:
                self._run(self._server.close())
            except (TimeoutError, concurrent.futures.TimeoutError):
                pass
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> SmtpServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # For the script's handler.

    def rule(self, at: str, address: str | None = None) -> Rule | None:
        """The newest rule that fits, which is used thereby."""
        with self._lock:
            for rule in reversed(self.rules):
                if rule.fits(at, address):
                    rule.use()
                    return rule
        return None

    def entered(self) -> None:
        """One connection more."""
        with self._lock:
            self.sessions += 1

    def keep(self, session: Session, message: Message, rcpt_tos: list[str]) -> None:
        """One message more, for these recipients."""
        hello = session.hello.raw if session.hello else ""
        received = Received(message.mail_from, rcpt_tos, message.content, message, hello, session.user, session.tls)
        with self._lock:
            self.messages.append(received)
            self._lock.notify_all()

    def full(self) -> bool:
        """Whether no message more is kept."""
        with self._lock:
            return len(self.messages) >= self._most_messages

    def knows(self, credentials: Credentials) -> bool:
        """Whether these credentials are among `users`."""
        return self._users is not None and self._users.get(credentials.username) == credentials.password


class _Script:
    """The handler: it does what the rules say."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    async def _follow(self, session: Session, rule: Rule | None) -> Verdict:
        if rule is None:
            return None
        if rule.delay:
            await asyncio.sleep(rule.delay)
        if rule.drop:
            session.abort()
        return rule.refusal

    async def connection(self, session: Session) -> Verdict:
        self._server.entered()
        return await self._follow(session, self._server.rule("connection"))

    async def hello(self, session: Session, hello: Hello) -> Verdict:
        return await self._follow(session, self._server.rule("hello"))

    async def login(self, session: Session, credentials: Credentials) -> Verdict | bool:
        return await self._follow(session, self._server.rule("login")) or self._server.knows(credentials)

    async def sender(self, session: Session, sender: Sender) -> Verdict:
        return await self._follow(session, self._server.rule("sender", addresses.text(sender)))

    async def recipient(self, session: Session, recipient: Recipient) -> Verdict:
        return await self._follow(session, self._server.rule("recipient", addresses.text(recipient)))

    async def data(self, session: Session) -> Verdict:
        verdict = await self._follow(session, self._server.rule("data"))
        if verdict is None and (rule := self._server.rule("content")):
            session.drop_after = rule.octets
        return verdict

    async def message(self, session: Session, message: Message) -> Verdict | Sequence[Verdict]:
        if self._server.full():
            return refuse(452, "4.3.1", "This server of a test keeps no more messages")
        rules = [self._server.rule("message", address) for address in message.rcpt_tos]
        for rule in rules:
            if rule and rule.drop:
                if rule.keep:
                    self._server.keep(session, message, message.rcpt_tos)
                session.abort()
                return None
        await asyncio.sleep(max((rule.delay for rule in rules if rule), default=0))
        verdicts = [rule.refusal if rule else None for rule in rules]
        accepted = [address for address, verdict in zip(message.rcpt_tos, verdicts, strict=True) if verdict is None]
        if accepted:
            self._server.keep(session, message, accepted)
        return verdicts

"""A client over asyncio.

Owns connecting, TLS, the run loop of a sending session, and what is told to the caller. Refuses to know SMTP, and where mail for a
domain goes. It fails with `PeerError` where the session with the server ended against our will, `LoginError` where a login was refused,
`MisuseError` for calls out of order. What becomes of a message is never an exception: each recipient has a `Delivery`.
"""

from __future__ import annotations

import asyncio
import email.message
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from hermetic_smtp import values as v
from hermetic_smtp.address import mailbox, text
from hermetic_smtp.content import addresses, facts, octets
from hermetic_smtp.defaults import CLIENT_LIMITS
from hermetic_smtp.errors import EngineError, HermeticError, LoginError, MisuseError, PeerError
from hermetic_smtp.instance import Engine
from hermetic_smtp.recording import Recorder
from hermetic_smtp.session import NEVER, ClientSession

PIECE = 64 * 1024
"""Octets of content that are given to the engine at a time."""

LINGER = 10.0
"""Seconds that a peer has to read our last command."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one recipient."""

    address: str
    outcome: v.Outcome

    @property
    def accepted(self) -> bool:
        """The server has taken the message for this recipient."""
        return self.outcome.fate is v.Fate.ACCEPTED

    @property
    def status(self) -> str:
        """The enhanced status code, such as `5.1.1`. RFC 3463."""
        status = self.outcome.status
        return f"{status.class_}.{status.subject}.{status.detail}"

    def __str__(self) -> str:
        reply = f": {self.outcome.reply.code} {self.outcome.reply.text}" if self.outcome.reply else ""
        return f"{self.address}: {self.outcome.fate.value} ({self.outcome.cause.value}) {self.status}{reply}"


def _told(failure: v.Failure | None) -> str:
    if failure is None:
        return "The session with the server has ended."
    said = f" The server said {failure.reply.code} {failure.reply.text}." if failure.reply else ""
    detail = f" {failure.detail.rstrip('.')}." if failure.detail else ""
    return f"The session with the server failed at {failure.stage.value}: {failure.fault.value}.{said}{detail}"


class Client:
    """An SMTP or LMTP client.

        async with Client("127.0.0.1", 2525) as client:
            for delivery in await client.send_message(message):
                print(delivery)

    `hello_name`: our name; a domain or an address literal in brackets. `tls`: what the handshake is made with; none: the system's
    certificates. `starttls`: `never`, `opportunistic` (where it is offered) or `required`. `implicit_tls`: TLS from the first octet
    on. `plaintext_login`: logging in without TLS is allowed. `record`: a folder for a `.session` file, without secrets.
    """

    def __init__(
        self,
        host: str,
        port: int = 25,
        *,
        hello_name: str | None = None,
        protocol: v.Protocol = v.Protocol.SMTP,
        tls: ssl.SSLContext | None = None,
        starttls: str = "opportunistic",
        implicit_tls: bool = False,
        server_hostname: str | None = None,
        plaintext_login: bool = False,
        limits: v.ClientLimits = CLIENT_LIMITS,
        ignore: Sequence[str] = (),
        record: str | os.PathLike[str] | None = None,
        engine: Engine | None = None,
    ) -> None:
        uses = {use.value: use for use in v.TlsUse}
        if starttls not in uses:
            raise MisuseError(f"starttls: one of {', '.join(uses)} was expected, not {starttls!r}.")
        name = hello_name or socket.getfqdn() or "localhost"
        if len(name) > 255 or any(letter <= " " or letter == "\x7f" for letter in name):
            raise MisuseError(f"hello_name: a domain, or an address literal in brackets, was expected, not {name!r:.60}.")
        self.host, self.port = host, port
        self._context = tls
        self._server_hostname = server_hostname or host
        self._limits = limits
        self._options = v.ClientOptions(
            protocol=protocol,
            hello_name=name,
            limits=limits,
            tls=v.TlsUse.NEVER if implicit_tls else uses[starttls],
            implicit_tls=implicit_tls,
            plaintext_auth=plaintext_login,
            ignore=tuple(ignore),
            pipelining=True,
            chunking=True,
            prdr=True,
            trace=False,
        )
        self._recorder = Recorder(record) if record is not None else None
        self._engine = engine
        self._line: _Line | None = None
        self._busy = False

    @property
    def peer(self) -> v.Peer:
        """What is known of the server. Raises `MisuseError` unless there is a session."""
        return self._ready("peer")[1]

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def _ready(self, call: str) -> tuple[_Line, v.Peer]:
        line = self._line
        if line is None:
            raise MisuseError(f"{call}: there is no session; `connect` comes first.")
        if self._busy:
            raise MisuseError(f"{call}: another call of this client has not ended; await it first.")
        if isinstance(line.need, v.ClientNeedReady):
            return line, line.need.value
        raise MisuseError(f"{call}: the session has ended; `connect` again.")

    async def connect(self) -> v.Peer:
        """Connects, says hello, and uses TLS as the options want it. What the server offers.

        Raises `PeerError`, and `MisuseError` if there is a session already.
        """
        if self._busy or self._line is not None and not self._line.over:
            raise MisuseError("connect: there is a session already; `quit` it first.")
        loop = asyncio.get_running_loop()
        observer = self._recorder.begin("client", self._options, self._engine) if self._recorder else None
        line = self._line = _Line(ClientSession(self._options, engine=self._engine, observer=observer), self._shake_hands)
        secure = self._tls() if self._options.implicit_tls else None
        self._busy = True
        try:
            async with asyncio.timeout(self._limits.greeting_timeout / 1000):
                await loop.create_connection(
                    lambda: line, self.host, self.port, ssl=secure, server_hostname=self._server_hostname if secure else None
                )
            need = await line.settled()
        except (OSError, TimeoutError) as error:
            line.abort()
            raise PeerError(f"{self.host}:{self.port}: no connection could be made: {error or 'it took too long'}.") from None
        except BaseException:
            line.abort()
            raise
        finally:
            self._busy = False
        if isinstance(need, v.ClientNeedReady):
            return need.value
        raise PeerError(_told(line.failure), line.failure)

    async def _shake_hands(self, line: _Line) -> None:
        patience = self._limits.handshake_timeout / 1000
        await line.shake_hands(self._tls(), self._server_hostname, patience)

    async def login(self, username: str, password: str) -> None:
        """AUTH by PLAIN or LOGIN, whichever the server offers.

        Raises `LoginError` if it is refused, or if the server offers neither: without TLS it is as if it offered none, unless
        `plaintext_login` is set.
        """
        line, peer = self._ready("login")
        if "\0" in username or "\0" in password:
            raise MisuseError("login: there is a NUL in the name or in the password, and none can be said.")
        responses: list[bytes]
        if "PLAIN" in peer.mechanisms:
            mechanism, initial, responses = "PLAIN", f"\0{username}\0{password}".encode(), []
        elif "LOGIN" in peer.mechanisms:
            mechanism, initial, responses = "LOGIN", None, [username.encode(), password.encode()]
        else:
            offered = ", ".join(peer.mechanisms) or "nothing"
            raise LoginError(f"The server offers neither PLAIN nor LOGIN here, but {offered}{'' if peer.tls else ' without TLS'}.")
        async with self._while_busy():
            line.login = None
            line.call(lambda session, now: session.login(now, mechanism, initial))
            while isinstance(need := await line.settled(), v.ClientNeedResponse):
                if responses:
                    response = responses.pop(0)
                    line.call(lambda session, now, response=response: session.respond(now, response))  # type: ignore[misc]
                else:
                    line.call(lambda session, now: session.cancel(now))
        if isinstance(need, v.ClientNeedClose) and line.login is None:
            raise PeerError(_told(line.failure), line.failure)
        if line.login is None or not line.login.accepted:
            reply = line.login.reply if line.login else None
            raise LoginError(f"The server refused the login: {reply.code} {reply.text}." if reply else "The login failed.", reply)

    async def send_message(
        self, message: email.message.Message, sender: str | None = None, recipients: Sequence[str] | None = None
    ) -> list[Delivery]:
        """Sends a message of the standard library. Without `sender` it is `Sender` or `From`, without `recipients` all of `To`, `Cc` and
        `Bcc`. `Bcc` itself is not sent. Non-ASCII in addresses needs a server with SMTPUTF8."""
        _, peer = self._ready("send_message")
        if sender is None:
            found = addresses(message, ["Sender"]) or addresses(message, ["From"])
            if not found:
                raise MisuseError("send_message: the message has no From, and no sender was given.")
            sender = found[0]
        if recipients is None:
            recipients = addresses(message, ["To", "Cc", "Bcc"])
        offers = {extension.keyword for extension in peer.extensions}
        utf8 = not all(address.isascii() for address in [sender, *recipients])
        return await self.send(sender, recipients, octets(message, utf8=utf8, eight_bit="8BITMIME" in offers))

    async def send(self, sender: str, recipients: Sequence[str], content: bytes) -> list[Delivery]:
        """Sends octets as they are; lines end with CRLF. An empty `sender` is the null reverse-path. Recipients that the server would
        not take in one transaction get another one. One `Delivery` for each recipient, in order."""
        line, _ = self._ready("send")
        if isinstance(recipients, (str, bytes)) or not recipients:
            raise MisuseError("send: a list of at least one recipient was expected.")
        if not isinstance(content, bytes):
            raise MisuseError(f"send: octets (bytes) were expected as content, not {type(content).__name__}.")
        transaction = v.Transaction(
            sender=mailbox(sender) if sender else None,
            recipients=[v.Recipient(v.ForwardPathMailbox(mailbox(address)), None, None) for address in recipients],
            content=facts(content),
            require_tls=False,
            ret=None,
            envid=None,
            auth=None,
            deliver_by=None,
            priority=None,
        )
        found: dict[int, v.Outcome] = {}
        left = list(range(len(recipients)))
        async with self._while_busy():
            while left:
                now, later = left[: self._limits.recipients], left[self._limits.recipients :]
                part = transaction._replace(recipients=[transaction.recipients[place] for place in now])
                outcomes = await self._transact(line, part, content)
                found.update((now[outcome.recipient], outcome) for outcome in outcomes)
                unsent = [place for place in now if found[place].fate is v.Fate.UNSENT]
                if len(unsent) == len(now) or not isinstance(line.need, v.ClientNeedReady):
                    # What was never tried has the fate of the last one: there is no session to try it in.
                    found.update((place, found[now[-1]]._replace(fate=v.Fate.UNSENT, reply=None)) for place in later)
                    break
                left = unsent + later
        return [Delivery(address, found[place]._replace(recipient=place)) for place, address in enumerate(recipients)]

    @staticmethod
    async def _transact(line: _Line, transaction: v.Transaction, content: bytes) -> list[v.Outcome]:
        line.outcomes = []
        line.call(lambda session, now: session.deliver(now, transaction))
        at = 0
        while isinstance(await line.settled(), v.ClientNeedContent):
            piece = content[at : at + PIECE]
            at += len(piece)
            line.call(lambda session, now, piece=piece: session.content(now, piece, at >= len(content)), piece)  # type: ignore[misc]
        return line.outcomes

    async def quit(self) -> None:
        """Says QUIT, if the session is still there, and closes. Quitting twice is nothing."""
        line = self._line
        if line is None or line.over:
            return
        if self._busy:
            raise MisuseError("quit: another call of this client has not ended; await it, or `abort`.")
        line.call(lambda session, now: session.quit(now))
        await line.gone.wait()

    def abort(self) -> None:
        """Drops the connection at once."""
        if self._line:
            self._line.abort()

    def _while_busy(self) -> _Busy:
        return _Busy(self)

    async def __aenter__(self) -> Client:
        await self.connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            await self.quit()
        else:
            self.abort()


class _Busy:
    """One call at a time; one that is cancelled leaves no session behind, for nobody knows where it is."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> None:
        self._client._busy = True

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client._busy = False
        if error is not None and not isinstance(error, MisuseError):
            self._client.abort()


class _Line(asyncio.Protocol):
    """The connection: octets into the session, and what comes of it back."""

    def __init__(self, session: ClientSession, secure: Callable[[_Line], Awaitable[None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._secure = secure
        self._transport: asyncio.Transport | None = None
        self._stuck = False
        self._handshaking = False
        self._plain_is_over = False
        self._early = b""
        self._closing = False
        self._wake = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self.need: v.ClientNeed = v.ClientNeedInput()
        self.outcomes: list[v.Outcome] = []
        self.login: v.Login | None = None
        self.failure: v.Failure | None = None
        self.gone = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether nothing can be said any more."""
        return self._closing

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._closing:
            transport.abort()
            return
        self._guarded(lambda: self._apply(self._session.start(self._now()), b""))

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._handshaking and not self._plain_is_over:
            # Behind the reply to STARTTLS and before TLS: somebody is on the line.
            self.failure = v.Failure(v.Fault.PLAINTEXT, v.Stage.START_TLS, None, "")
            self._drop()
            return
        if self._handshaking:
            # Out of TLS, while `secured` is on its way.
            self._early += data
            return
        self._guarded(lambda: self._apply(self._session.receive(self._now(), data), b""))

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._awake()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            try:
                self._apply(self._session.lost(self._now()), b"")
            except HermeticError as failure:
                self._error = self._error or failure
        self._end()

    def _end(self) -> None:
        self._closing = True
        self.need = v.ClientNeedClose()
        if self._timer:
            self._timer.cancel()
        self._session.close()
        self.gone.set()
        self._awake()

    # The run loop.

    def _now(self) -> int:
        return int(self._loop.time() * 1000)

    def call(self, function: Callable[[ClientSession, int], v.ClientStep], given: bytes = b"") -> None:
        """A call of the session; `given` is what it was given as content. Raises what the session raises."""
        self._apply(function(self._session, self._now()), given)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except HermeticError as error:
            self._error = error
            self.abort()

    def _apply(self, step: v.ClientStep, given: bytes) -> None:
        transport = self._transport
        if transport and (step.transmit or step.content):
            pieces = [step.transmit]
            for of in step.content:
                if isinstance(of, v.PieceRange):
                    at, size = of.value
                    if at + size > len(given):
                        raise EngineError("The engine names content that it was not given. The session has ended; no other is concerned.")
                    pieces.append(given[at : at + size])
                else:
                    pieces.append(of.value)
            transport.write(b"".join(pieces))
        self.outcomes += step.outcomes
        self.login = step.login or self.login
        self.failure = step.failure or self.failure
        self.need = step.need
        self._wake = step.wake
        if isinstance(step.need, v.ClientNeedStartTls):
            self._handshaking = True
            if transport:
                transport.pause_reading()
            self._task = self._loop.create_task(self._secured())
        elif isinstance(step.need, v.ClientNeedClose):
            self._closing = True
            if transport:
                transport.close()
                # A server that does not read our QUIT is not waited for.
                if self._timer:
                    self._timer.cancel()
                self._timer = self._loop.call_later(LINGER, transport.abort)
            self._awake()
            return
        elif not isinstance(step.need, v.ClientNeedInput):
            self._awake()
        self._arm()

    def _arm(self) -> None:
        if self._wake != NEVER and (self._timer is None or self._timer.when() > self._wake / 1000):
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._wake / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._closing or self._wake == NEVER:
            return
        now = self._now()
        if now < self._wake:
            self._timer = self._loop.call_at((self._wake + 1) / 1000, self._tick)
        else:
            self._guarded(lambda: self._apply(self._session.tick(now), b""))

    async def _secured(self) -> None:
        try:
            self._plain_is_over = True
            await self._secure(self)
        except (OSError, ssl.SSLError, TimeoutError) as error:
            try:
                self._apply(self._session.lost(self._now()), b"")
            except HermeticError as failure:
                self._error = self._error or failure
            self.failure = v.Failure(v.Fault.LOST, v.Stage.HANDSHAKE, None, f"TLS failed: {error}")
            self._drop()
            return
        self._handshaking = False
        early, self._early = self._early, b""

        def go_on() -> None:
            self._apply(self._session.secured(self._now()), b"")
            if early and not self._closing:
                self._apply(self._session.receive(self._now(), early), b"")

        if not self._closing:
            self._guarded(go_on)

    async def shake_hands(self, context: ssl.SSLContext, hostname: str, patience: float) -> None:
        """TLS over this connection."""
        assert self._transport
        transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=hostname, ssl_handshake_timeout=patience
        )
        if transport is None:
            raise ConnectionError("the connection was closed")
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def _awake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():
            waiter.set_result(None)

    async def settled(self) -> v.ClientNeed:
        """Waits until there is something for the caller to do, and what was written has mostly gone out."""
        while not self._closing and (self._stuck or isinstance(self.need, (v.ClientNeedInput, v.ClientNeedStartTls))):
            self._waiter = self._loop.create_future()
            await self._waiter
        if self._error:
            raise self._error
        return self.need

    def abort(self) -> None:
        """Drops the connection at once; what was under way has outcomes all the same."""
        if not self._closing:
            try:
                self._apply(self._session.quit(self._now()), b"")
            except HermeticError:
                # It had not begun, or its engine has failed: then nothing is under way, or the error is told.
                pass
        self._drop()

    def _drop(self) -> None:
        self._closing = True
        if self._transport:
            self._transport.abort()
        self._end()

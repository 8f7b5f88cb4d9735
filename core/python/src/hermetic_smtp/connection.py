"""One connection to a server: octets from a transport into the session, and what comes of it back.

Owns the run loop of a receiving session over asyncio, in numbered steps below, STARTTLS, and the bounds on what waits. Refuses to
know SMTP and listening (`server.py`).

1. Give the session what has arrived (`_run`).
2. Write `transmit`, keep `body`.
3. Meet `need`: read on; or put the question to the handler, and read no further meanwhile; or shake hands; or close.
4. `tick` at `wake`.

Plaintext that came behind STARTTLS is dropped before the handshake begins; what comes during the handshake comes out of TLS.
A peer that does not read what it is told is not read from either. A handler that raises or takes too long is a 451; an engine that
fails ends its connection and no other.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Union

from hermetic_smtp import values as v
from hermetic_smtp.errors import EngineError, HermeticError, MisuseError
from hermetic_smtp.handler import Credentials, Message, Refused, Verdict
from hermetic_smtp.instance import Known
from hermetic_smtp.sasl import Exchange
from hermetic_smtp.session import NEVER, ServerSession

if TYPE_CHECKING:
    from hermetic_smtp.server import Server

logger = logging.getLogger("hermetic_smtp")

PIECE = 64 * 1024
"""Octets that are given to the engine at a time."""

PENDING = 256 * 1024
"""Octets that may wait for an answer before no more are read."""

LINGER = 10.0
"""Seconds that a peer has to read the last reply."""

Answer = Union[v.Answer, Known]

_YES: v.Ok[str | None] = v.Ok(None)
_SENDER_YES = Known(v.AnswerSender(_YES))
_RECIPIENT_YES = Known(v.AnswerRecipients([_YES]))
_FAULT = v.Refusal(451, 3, 0, "Something went wrong here; try again later")
_NO_LOGIN = v.Refusal(535, 7, 8, "Authentication credentials invalid")
_MALFORMED = v.Refusal(501, 5, 2, "Malformed authentication response")
_DENIED = v.Refusal(550, 7, 1, "Refused")
_FULL = v.Refusal(421, 4, 5, "Too many connections; try again later")


def _fault(question: v.Question) -> v.Answer:
    """The answer where there is none that can be given."""
    no: v.Decision = v.Err(_FAULT)
    match question:
        case v.QuestionConnection():
            return v.AnswerConnection(no)
        case v.QuestionHello():
            return v.AnswerHello(no)
        case v.QuestionXclient():
            return v.AnswerXclient(no)
        case v.QuestionSasl():
            return v.AnswerSasl(v.SaslAnswerRefused(_FAULT))
        case v.QuestionSender():
            return v.AnswerSender(no)
        case v.QuestionRecipients(recipients):
            return v.AnswerRecipients([no] * len(recipients))
        case v.QuestionVerify():
            return v.AnswerVerify(v.VerifyAnswerRefused(_FAULT))
        case v.QuestionData():
            return v.AnswerData(no)
        case v.QuestionMessage(facts):
            return v.AnswerMessage([no] * facts.recipients)


class Session:
    """What a handler may know of a session, and a place for what it wants to remember (`notes`)."""

    __slots__ = ("drop_after", "hello", "notes", "recipients", "sender", "tls", "user", "_connection", "peer")

    def __init__(self, connection: Connection, peer: Any) -> None:
        self._connection = connection
        self.peer = peer
        """The peer's address, as the socket has it."""
        self.hello: v.Hello | None = None
        """How it said hello; only if the handler has `hello`."""
        self.tls = False
        """Whether the session is inside TLS."""
        self.user: str | None = None
        """Who has logged in."""
        self.sender: v.Sender | None = None
        """The sender of the open transaction."""
        self.recipients: list[v.Recipient] = []
        """Its recipients, as far as they have been accepted."""
        self.notes: dict[str, Any] = {}
        """The handler's."""
        self.drop_after: int | None = None
        """Octets of content after which the connection is dropped; for tests of clients."""

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The TLS connection, for its version and the client's certificate."""
        found: ssl.SSLObject | None = self._connection.transport.get_extra_info("ssl_object")
        return found

    def abort(self) -> None:
        """Drops the connection at once, without a reply; for tests of clients."""
        self._connection.abort()


class Connection(asyncio.Protocol):
    """One connection; made by `Server`."""

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._hooks = server.hooks
        self._loop = server.loop
        self._engine: ServerSession | None = None
        self._pending = b""
        self._body: list[bytes] = []
        self._held = 0
        self._keeps = server.hooks.message is not None
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake = NEVER
        self._need: v.Need | None = None
        self._full = False
        self._stuck = False
        self._flowing: asyncio.Future[None] | None = None
        self._farewell: v.Refusal | None = None
        self._eof = False
        self._handshaking = False
        self._plain_is_over = False
        self._closing = False

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.session = Session(self, transport.get_extra_info("peername"))
        self.session.tls = self._server.implicit_tls
        self._full = not self._server.entered(self)
        try:
            self._engine = self._server.begin(self._full)
            self._run(self._engine.start(self._now()), b"")
        except HermeticError:
            self._failed()
            return
        if self._server.farewell:
            self.drain(self._server.farewell)

    def data_received(self, data: bytes) -> None:
        if self._closing or self._handshaking and not self._plain_is_over:
            # Behind STARTTLS and before TLS: somebody is on the line, or does not know the protocol. It is never read.
            return
        self._pending = self._pending + data if self._pending else data
        if type(self._need) is v.NeedInput and not self._stuck and not self._handshaking:
            self._read_on()
        elif len(self._pending) > PENDING and not self._handshaking:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        # What was asked for before it closed its side is still answered; inside TLS there is no half-closed state.
        if self.session.tls or type(self._need) is v.NeedInput and not self._pending:
            return False
        return True

    def pause_writing(self) -> None:
        self._stuck = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._stuck = False
        if self._flowing and not self._flowing.done():
            self._flowing.set_result(None)
        if not self._closing and not self._handshaking:
            self.transport.resume_reading()
            if type(self._need) is v.NeedInput and self._pending:
                self._read_on()

    def connection_lost(self, error: Exception | None) -> None:
        # asyncio does not say it when a connection breaks during the handshake, and says it at other times.
        self._closing = True
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()
        self._pending = b""
        self._forget()
        if self._engine:
            self._engine.close()
        self._server.left(self)

    # The run loop.

    def _now(self) -> int:
        return int(self._loop.time() * 1000)

    def _read_on(self) -> None:
        assert self._engine
        try:
            piece = self._pending if len(self._pending) <= PIECE else self._pending[:PIECE]
            step = self._engine.receive(self._now(), piece)
            self._pending = self._pending[step.consumed :]
            self._run(step, piece)
        except HermeticError:
            self._failed()

    def _run(self, step: v.Step, piece: bytes) -> None:
        engine = self._engine
        assert engine
        while True:
            if step.abandoned:
                # What this step brings comes behind that.
                self._forget()
                self.session.sender = None
                self.session.recipients = []
            if step.body and self._keeps:
                self._keep(step.body, piece)
            if step.events:
                self._server.report(self.session, step.events)
            need = self._need = step.need
            self._wake = step.wake
            if self._closing:
                return
            if step.transmit:
                self.transport.write(step.transmit)
            if type(need) is v.NeedInput:
                if self._farewell:
                    farewell, self._farewell = self._farewell, None
                    step, piece = engine.drain(self._now(), farewell), b""
                    continue
                if not self._pending:
                    break
                if piece and not step.consumed:
                    raise EngineError("The engine takes none of its input and wants more. The session has ended; no other is concerned.")
                if self._stuck:
                    return self._arm()
                piece = self._pending if len(self._pending) <= PIECE else self._pending[:PIECE]
                step = engine.receive(self._now(), piece)
                self._pending = self._pending[step.consumed :]
            elif type(need) is v.NeedAnswer:
                answer = self._answer(need.value)
                if answer is None:
                    return self._arm()
                step, piece = self._give(engine, need.value, answer), b""
            elif type(need) is v.NeedStartTls:
                self._pending = b""
                self._handshaking = True
                self.transport.pause_reading()
                self._task = self._loop.create_task(self._shake_hands())
                return self._arm()
            else:
                return self._close()
        self._arm()
        if self._eof:
            self._close()
        elif not self.transport.is_reading() and not self._stuck:
            self.transport.resume_reading()

    def _forget(self) -> None:
        """Lets go of the content."""
        self._server.held -= self._held
        self._held = 0
        self._body.clear()

    def _keep(self, pieces: Sequence[v.Piece], piece: bytes) -> None:
        before = len(self._body)
        for of in pieces:
            if type(of) is v.PieceRange:
                at, size = of.value
                if at + size > len(piece):
                    raise EngineError("The engine names content that it was not given. The session has ended; no other is concerned.")
                self._body.append(piece[at : at + size])
            else:
                assert isinstance(of, v.PieceOctets)
                self._body.append(of.value)
        self._held += (size := sum(map(len, self._body[before:])))
        self._server.held += size
        if self._server.held > self._server.most_held:
            logger.error("All sessions hold more than %s octets of content; that with %s is dropped", self._server.most_held, self.session.peer)
            self.abort()
        elif self.session.drop_after is not None and self._held >= self.session.drop_after:
            self.abort()

    def _arm(self) -> None:
        """One timer is kept; it looks again when it fires early, which costs less than a new one for each step."""
        if self._wake == NEVER:
            return
        at = self._wake / 1000
        if self._timer is None or self._timer.when() > at:
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._closing or not self._engine or self._wake == NEVER:
            return
        now = self._now()
        if now < self._wake:
            self._timer = self._loop.call_at((self._wake + 1) / 1000, self._tick)
            return
        try:
            self._run(self._engine.tick(now), b"")
        except HermeticError:
            self._failed()

    def drain(self, farewell: v.Refusal) -> None:
        """Ends the session with this reply as soon as no transaction is open. A question that is open is answered first."""
        self._farewell = farewell
        if type(self._need) is v.NeedInput and not self._handshaking and not self._closing:
            assert self._engine
            self._farewell = None
            try:
                self._run(self._engine.drain(self._now(), farewell), b"")
            except HermeticError:
                self._failed()

    def _failed(self) -> None:
        logger.exception("A session with %s ended; no other is concerned", self.session.peer)
        self._server.failures += 1
        self.abort()

    def _close(self) -> None:
        if not self._closing:
            self._closing = True
            self.transport.close()
            # A peer that does not read the last reply is not waited for.
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_later(LINGER, self.transport.abort)

    def abort(self) -> None:
        """Drops the connection at once."""
        self._closing = True
        self.transport.abort()

    # TLS.

    async def _shake_hands(self) -> None:
        context = self._server.tls
        assert context and self._engine
        if self._stuck:
            # The transport tells us, not TLS, when it writes again: until it does, TLS must not have it.
            self._flowing = self._loop.create_future()
            await self._flowing
        # From here on, what `data_received` is given has come out of TLS: between this line and the change of the transport's
        # protocol nothing else runs.
        self._plain_is_over = True
        patience = self._server.limits.handshake_timeout / 1000
        try:
            transport = await self._loop.start_tls(self.transport, self, context, server_side=True, ssl_handshake_timeout=patience)
        except (OSError, ssl.SSLError, asyncio.TimeoutError) as error:
            logger.info("TLS with %s failed: %s", self.session.peer, error)
            transport = None
        if transport is None or self._closing:
            self._task = None
            self.abort()
            self.connection_lost(None)
            return
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._handshaking = False
        self._task = None
        self.session.tls = True
        # What was said in the clear counts no more (RFC 3207 section 4.2).
        self.session.hello = None
        self.session.user = None
        try:
            self._run(self._engine.secured(self._now(), self._server.mechanisms), b"")
        except HermeticError:
            self._failed()

    # Questions.

    def _answer(self, question: v.Question) -> Answer | None:
        """The answer, if nobody has to be waited for."""
        kind = type(question)
        if self._full and kind is v.QuestionConnection:
            return v.AnswerConnection(v.Err(_FULL))
        hooks = self._hooks
        if isinstance(question, v.QuestionSender) and hooks.sender is None:
            self._begin(question.value)
            return _SENDER_YES
        if isinstance(question, v.QuestionRecipients) and hooks.recipient is None and len(question.value) == 1:
            self.session.recipients.append(question.value[0])
            return _RECIPIENT_YES
        hook, given, settle = self._asked(question)
        if hook is None:
            return settle(None)
        if kind is v.QuestionRecipients:
            # One after the other, in order.
            return self._wait(self._recipients(hook, given), settle)
        try:
            verdict = hook(self.session, *given)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its peer's 451 and our log
            return settle(self._raised(error))
        if hasattr(verdict, "__await__"):
            return self._wait(verdict, settle)
        return settle(verdict)

    def _asked(self, question: v.Question) -> tuple[Callable[..., Any] | None, Sequence[Any], Callable[[Any], Answer]]:
        """Who is asked, what with, and what becomes of the verdict."""
        hooks = self._hooks
        session = self.session
        if isinstance(question, v.QuestionSender):
            self._begin(question.value)
            return hooks.sender, (question.value,), self._begun
        if isinstance(question, v.QuestionRecipients):
            return hooks.recipient, question.value, lambda said: self._taken(question.value, said)
        if isinstance(question, v.QuestionMessage):
            message = self._message(question.value)
            return hooks.message, (message,), lambda said: v.AnswerMessage(self._fates(said, question.value.recipients))
        if isinstance(question, v.QuestionConnection):
            return hooks.connection, (), lambda said: v.AnswerConnection(self._decision(said))
        if isinstance(question, v.QuestionHello):
            session.hello = question.value
            return hooks.hello, (question.value,), lambda said: v.AnswerHello(self._decision(said))
        if isinstance(question, v.QuestionData):
            return hooks.data, (), lambda said: v.AnswerData(self._decision(said))
        if isinstance(question, v.QuestionVerify):
            return hooks.verify, (question.value,), self._verified
        if isinstance(question, v.QuestionSasl):
            return self._sasl(question.value)
        return None, (), lambda said: v.AnswerXclient(self._decision(said))

    def _give(self, engine: ServerSession, question: v.Question, answer: Answer) -> v.Step:
        """Answers. What cannot be said to a peer is the handler's mistake, and becomes a 451."""
        try:
            return engine.answer(self._now(), answer)
        except MisuseError as error:
            logger.error("A handler's answer cannot be given to %s: %s", self.session.peer, error)
            # What it would have brought about does not come about.
            if isinstance(answer, v.AnswerRecipients) and (taken := sum(isinstance(of, v.Ok) for of in answer.value)):
                del self.session.recipients[-taken:]
            elif isinstance(answer, v.AnswerSasl):
                self.session.user = None
            elif isinstance(answer, v.AnswerSender):
                self.session.sender = None
            return engine.answer(self._now(), _fault(question))

    def _begin(self, sender: v.Sender) -> None:
        self.session.sender, self.session.recipients = sender, []
        self._forget()

    def _begun(self, said: Any) -> Answer:
        decision = self._decision(said)
        if isinstance(decision, v.Err):
            self.session.sender = None
        return v.AnswerSender(decision)

    def _wait(self, verdict: Awaitable[Any], settle: Callable[[Any], Answer]) -> Answer | None:
        self._task = self._loop.create_task(self._settle(verdict, settle))
        if isinstance(verdict, Coroutine):
            # A connection may be lost before the task begins; then nothing is left behind.
            self._task.add_done_callback(lambda _: verdict.close())
        return None

    async def _settle(self, awaited: Awaitable[Any], settle: Callable[[Any], Answer]) -> None:
        try:
            async with asyncio.timeout(self._server.patience):
                said = await awaited
        except Exception as error:  # noqa: BLE001 - as above
            said = self._raised(error)
        self._task = None
        if self._closing or not self._engine:
            return
        try:
            assert isinstance(self._need, v.NeedAnswer)
            self._run(self._give(self._engine, self._need.value, settle(said)), b"")
        except HermeticError:
            self._failed()

    async def _recipients(self, hook: Callable[..., Any], recipients: Sequence[v.Recipient]) -> list[Verdict]:
        verdicts = []
        for recipient in recipients:
            try:
                verdict = hook(self.session, recipient)
                verdicts.append(await verdict if hasattr(verdict, "__await__") else verdict)
            except Exception as error:  # noqa: BLE001 - as above
                verdicts.append(self._raised(error))
        return verdicts

    def _raised(self, error: Exception) -> v.Refusal:
        if isinstance(error, Refused):
            return error.refusal
        if isinstance(error, TimeoutError):
            logger.error("A handler took more than %s s for a session with %s", self._server.patience, self.session.peer)
        else:
            logger.error("A handler failed in a session with %s", self.session.peer, exc_info=error)
        return _FAULT

    def _decision(self, said: Any) -> v.Decision:
        if said is None or said is True:
            return _YES
        if isinstance(said, v.Refusal):
            return v.Err(said)
        if isinstance(said, str):
            return v.Ok(said)
        if said is False:
            return v.Err(_DENIED)
        logger.error("A handler answered %.60r; None, a text or a Refusal was expected", said)
        return v.Err(_FAULT)

    def _taken(self, asked: Sequence[v.Recipient], said: Any) -> Answer:
        if said is None:
            self.session.recipients.extend(asked)
            return v.AnswerRecipients([_YES] * len(asked))
        verdicts = said if isinstance(said, list) else [said] * len(asked)
        decisions = [self._decision(verdict) for verdict in verdicts]
        self.session.recipients.extend(of for of, decision in zip(asked, decisions, strict=True) if isinstance(decision, v.Ok))
        return v.AnswerRecipients(decisions)

    def _message(self, facts: v.MessageFacts) -> Message:
        session = self.session
        content = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._forget()
        sender, session.sender = session.sender, None
        recipients, session.recipients = session.recipients, []
        assert sender
        return Message(sender, recipients, content, facts)

    def _fates(self, said: Any, recipients: int) -> list[v.Decision]:
        if not isinstance(said, (list, tuple)) or isinstance(said, v.Refusal):
            return [self._decision(said)] * recipients
        if len(said) != recipients:
            logger.error("A handler answered for %s recipients; %s were expected", len(said), recipients)
            return [v.Err(_FAULT)] * recipients
        return [self._decision(verdict) for verdict in said]

    def _verified(self, said: Any) -> Answer:
        if said is None:
            return v.AnswerVerify(v.VerifyAnswerUnsure())
        decision = self._decision(said)
        if isinstance(decision, v.Err):
            return v.AnswerVerify(v.VerifyAnswerRefused(decision.value))
        return v.AnswerVerify(v.VerifyAnswerKnown(decision.value or ""))

    def _sasl(self, step: v.SaslStep) -> tuple[Callable[..., Any] | None, Sequence[Any], Callable[[Any], Answer]]:
        if isinstance(step, v.SaslStepStart):
            mechanism, response = step.value
            self._exchange = Exchange(mechanism)
        else:
            response = step.value
        assert self._exchange
        found = self._exchange.step(response)
        if isinstance(found, Credentials):
            return self._hooks.login, (found,), lambda said: self._logged_in(found, said)
        self._exchange = self._exchange if found is not None else None
        answer = v.SaslAnswerRefused(_MALFORMED) if found is None else v.SaslAnswerChallenge(found)
        return None, (), lambda said: v.AnswerSasl(answer if said is None else v.SaslAnswerRefused(said))

    def _logged_in(self, credentials: Credentials, said: Any) -> Answer:
        self._exchange = None
        if said is False:
            return v.AnswerSasl(v.SaslAnswerRefused(_NO_LOGIN))
        decision = self._decision(said)
        if isinstance(decision, v.Err):
            return v.AnswerSasl(v.SaslAnswerRefused(decision.value))
        self.session.user = credentials.username
        return v.AnswerSasl(v.SaslAnswerAuthenticated(credentials.username))

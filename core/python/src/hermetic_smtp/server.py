"""A server over asyncio.

Owns listening, the bound on connections, draining and closing. Refuses to know what is said on a connection (`connection.py`). It
fails with `MisuseError` for options that do not go together, before it listens, and with `OSError` where it cannot listen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType

from hermetic_smtp import values as v
from hermetic_smtp.connection import Connection, Session
from hermetic_smtp.defaults import SERVER_LIMITS
from hermetic_smtp.errors import MisuseError
from hermetic_smtp.handler import Hooks
from hermetic_smtp.instance import Engine, Prepared, default
from hermetic_smtp.recording import Recorder
from hermetic_smtp.sasl import MECHANISMS
from hermetic_smtp.session import ServerSession

logger = logging.getLogger("hermetic_smtp")

_GOODBYE = v.Refusal(421, 3, 2, "Going down; try again later")


class Server:
    """An SMTP or LMTP server that asks `handler`.

        async with Server(handler, port=2525):
            await asyncio.sleep(3600)

    `host`, `port`: where it listens; port 0 takes a free one, which `port` then says.
    `name`: in the greeting. `tls`: offers STARTTLS with this context, or with `implicit_tls` speaks TLS from the first octet on.
    `require_tls`: nothing but STARTTLS before TLS. `require_login`: MAIL only after AUTH. `plaintext_login`: AUTH is offered
    without TLS too, for tests.
    `limits`: bounds of a session; `connections`: how many at a time, the others are told 421; `most_held`: octets of unfinished messages
    that all of them may hold, whoever comes above loses the connection; `patience`: seconds that a handler may take for an answer.
    `record`: a folder for one `.session` file a session. It holds all that was said, but for what was said in AUTH.
    `on_events`: is called with what happens in sessions, for a log.
    """

    def __init__(
        self,
        handler: object,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str | None = None,
        protocol: v.Protocol = v.Protocol.SMTP,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        require_tls: bool = False,
        require_login: bool = False,
        plaintext_login: bool = False,
        limits: v.ServerLimits = SERVER_LIMITS,
        connections: int = 1000,
        most_held: int = 1024 * 1024 * 1024,
        patience: float = 300.0,
        record: str | os.PathLike[str] | None = None,
        on_events: Callable[[Session, Sequence[v.Event]], None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.hooks = Hooks(handler)
        if (implicit_tls or require_tls) and tls is None:
            raise MisuseError("implicit_tls and require_tls want tls, an ssl.SSLContext.")
        if require_login and self.hooks.login is None:
            raise MisuseError("require_login wants a handler with the method login.")
        if require_login and tls is None and not plaintext_login:
            raise MisuseError("require_login wants tls, or plaintext_login: otherwise nobody could log in.")
        if connections < 1 or patience <= 0 or most_held < 1:
            raise MisuseError("connections, patience and most_held have to be above 0.")
        self.host, self.port = host, port
        self.tls, self.implicit_tls = tls, implicit_tls
        self.limits, self.patience = limits, patience
        self.failures = 0
        """Sessions that ended because the engine failed, or we did."""
        self.farewell: v.Refusal | None = None
        """What sessions are ended with, while the server drains."""
        self.held = 0
        """Octets of content that sessions hold for messages that are not complete."""
        self.most_held = most_held
        self._most = connections
        self._on_events = on_events
        self._recorder = Recorder(record) if record is not None else None
        self.mechanisms: tuple[str, ...] = MECHANISMS if self.hooks.login else ()
        options = v.ServerOptions(
            protocol=protocol,
            server_name=name or socket.getfqdn() or "localhost",
            limits=limits,
            implicit_tls=implicit_tls,
            start_tls=tls is not None and not implicit_tls,
            require_tls=require_tls and not implicit_tls,
            plaintext_mechanisms=self.mechanisms if plaintext_login and not implicit_tls else (),
            tls_mechanisms=self.mechanisms if implicit_tls else (),
            require_auth=require_login,
            xclient=(),
            strict_hello=False,
            deliver_by=False,
            priority=False,
            trace=False,
            unasked=self.hooks.unasked(),
        )
        self._engine = engine or default()
        self._options = Prepared("server", options)
        asked = options.unasked & ~v.Questions.CONNECTION
        self._full_options = Prepared("server", options._replace(unasked=asked))
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop

    # For connections.

    def begin(self, full: bool) -> ServerSession:
        """A session for a new connection."""
        options = self._full_options if full else self._options
        observer = self._recorder.begin("server", options.options, self._engine) if self._recorder else None
        return ServerSession(options, engine=self._engine, observer=observer)

    def entered(self, connection: Connection) -> bool:
        """Counts a connection; whether there was room for it."""
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= self._most

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def report(self, session: Session, events: Sequence[v.Event]) -> None:
        """What happened in a session."""
        if self._on_events:
            try:
                self._on_events(session, [event for event in events if not event.secret])
            except Exception:  # noqa: BLE001 - the embedder's; no session ends for it
                logger.exception("on_events failed")

    # For the embedder.

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    async def start(self) -> None:
        """Listens. Raises `OSError` if it cannot, `MisuseError` if it does already."""
        if self._server is not None:
            raise MisuseError("start: the server listens already.")
        self.loop = asyncio.get_running_loop()
        self.farewell = None
        self._empty.set()
        self._server = await self.loop.create_server(
            lambda: Connection(self),
            self.host,
            self.port,
            backlog=4096,
            ssl=self.tls if self.implicit_tls else None,
            ssl_handshake_timeout=self.limits.handshake_timeout / 1000 if self.implicit_tls else None,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def drain(self, patience: float = 30.0, farewell: v.Refusal = _GOODBYE) -> bool:
        """Listens no more, ends each session as soon as no transaction is open in it, and after `patience` seconds closes what is
        left. Whether all ended by themselves."""
        if self._server is None:
            raise MisuseError("drain: the server does not listen; `start` comes first.")
        self._server.close()
        # For connections that were accepted and have not been heard of.
        self.farewell = farewell
        for connection in list(self._connections):
            connection.drain(farewell)
        try:
            await asyncio.wait_for(self._empty.wait(), patience)
            return True
        except TimeoutError:
            return False
        finally:
            await self.close()

    async def close(self) -> None:
        """Listens no more and drops all connections. Closing twice is nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.wait_for(self._empty.wait(), 10)

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

"""An SMTP server and client whose protocol runs in a WebAssembly sandbox, one a session.

`Server` and `Client` are for asyncio, the fixture `smtp_server` (`pytest_plugin.py`) for tests, `ServerSession` and `ClientSession` for
whoever has sockets, clocks and tasks of another kind, `replay` for `.session` files. What crosses the boundary of the engine is
in `hermetic_smtp.values`.
"""

from hermetic_smtp import address, values
from hermetic_smtp.client import Client, Delivery
from hermetic_smtp.connection import Session
from hermetic_smtp.defaults import CLIENT_LIMITS, SERVER_LIMITS
from hermetic_smtp.errors import EngineError, FileError, HermeticError, LoginError, MisuseError, PeerError
from hermetic_smtp.handler import Credentials, Handler, Message, Refused, Verdict, refuse
from hermetic_smtp.instance import Engine
from hermetic_smtp.recording import Recorder
from hermetic_smtp.replay import Difference, Replay, replay
from hermetic_smtp.server import Server
from hermetic_smtp.session import NEVER, ClientSession, ServerSession

__all__ = [
    "CLIENT_LIMITS",
    "NEVER",
    "SERVER_LIMITS",
    "Client",
    "ClientSession",
    "Credentials",
    "Delivery",
    "Difference",
    "Engine",
    "EngineError",
    "FileError",
    "Handler",
    "HermeticError",
    "LoginError",
    "Message",
    "MisuseError",
    "PeerError",
    "Recorder",
    "Refused",
    "Replay",
    "Server",
    "ServerSession",
    "Session",
    "Verdict",
    "address",
    "refuse",
    "replay",
    "values",
]

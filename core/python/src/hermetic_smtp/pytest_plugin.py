"""Fixtures for pytest: `smtp_server`, and `smtp_servers` for servers with options.

Owns nothing but the fixtures (`testing.py` has the server). pytest finds this module by its entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hermetic_smtp.testing import SmtpServer


@pytest.fixture
def smtp_servers() -> Iterator[Callable[..., SmtpServer]]:
    """Makes servers: `smtp_servers(tls=context, users={"alice": "secret"})`. They end with the test."""
    # Imported only where it is used: pytest loads every plugin for every run.
    from hermetic_smtp.testing import SmtpServer

    made: list[SmtpServer] = []

    def make(**options: Any) -> SmtpServer:
        server = SmtpServer(**options)
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def smtp_server(smtp_servers: Callable[..., SmtpServer]) -> SmtpServer:
    """A server that keeps what it is sent, at `smtp_server.host` and `smtp_server.port`."""
    return smtp_servers()

"""PLAIN (RFC 4616) and LOGIN, on the side of the server.

Owns the few octets of both. The engine has decoded the base64. What is malformed is None, which the caller answers 501 5.5.2.
"""

from __future__ import annotations

from hermetic_smtp.handler import Credentials

MECHANISMS = ("PLAIN", "LOGIN")
LONGEST = 1024
"""Octets of a name or a password."""

USERNAME, PASSWORD = b"Username:", b"Password:"


class Exchange:
    """One AUTH, from its beginning."""

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism
        self._username: str | None = None

    def step(self, response: bytes | None) -> bytes | Credentials | None:
        """The next response, or the initial one; what comes of it: a challenge, or credentials, or None if it is malformed."""
        if self.mechanism == "PLAIN":
            return b"" if response is None else self._plain(response)
        if response is None:
            return USERNAME
        try:
            said = response.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if not said or len(response) > LONGEST or "\0" in said:
            return None
        if self._username is None:
            self._username = said
            return PASSWORD
        return Credentials("LOGIN", self._username, said)

    @staticmethod
    def _plain(response: bytes) -> Credentials | None:
        try:
            parts = response.decode("utf-8").split("\0")
        except UnicodeDecodeError:
            return None
        if len(parts) != 3 or not parts[1] or not parts[2] or any(len(part.encode()) > LONGEST for part in parts):
            return None
        return Credentials("PLAIN", parts[1], parts[2], parts[0])

"""Mailboxes as text.

Owns the way from a parsed mailbox to `local@domain` and back. Refuses to say which addresses are good: the engine does, with an
answer or a misuse. RFC 5321 section 4.1.2.
"""

from __future__ import annotations

import re

from hermetic_smtp.errors import MisuseError
from hermetic_smtp.values import ForwardPath, ForwardPathMailbox, HostNameDomain, HostNameLiteral, Mailbox, Recipient, Sender

_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+)*")


def text(mailbox: Mailbox | ForwardPath | Sender | Recipient | None) -> str:
    """`local@domain`, quoted where that is needed; `postmaster` for the forward-path without a domain; empty for the null
    reverse-path."""
    if isinstance(mailbox, Sender):
        mailbox = mailbox.mailbox
    if isinstance(mailbox, Recipient):
        mailbox = mailbox.path
    if mailbox is None:
        return ""
    if isinstance(mailbox, ForwardPathMailbox):
        mailbox = mailbox.value
    if not isinstance(mailbox, Mailbox):
        return "postmaster"
    local = mailbox.local
    if not _DOT_ATOM.fullmatch(local):
        local = '"' + re.sub(r'([\\"])', r"\\\1", local) + '"'
    host = f"[{mailbox.host.value}]" if isinstance(mailbox.host, HostNameLiteral) else mailbox.host.value
    return f"{local}@{host}"


def mailbox(address: str) -> Mailbox:
    """`local@domain`, `"a b"@domain` or `local@[192.0.2.1]` as a mailbox, without angle brackets.

    Raises `MisuseError` for a text without `@`. Whatever else is wrong, the engine says when it is asked to send it.
    """
    local, at, host = address.rpartition("@")
    if not at or not local or not host:
        raise MisuseError(f"{address!r} is no address: local@domain was expected.")
    if local.startswith('"') and local.endswith('"') and len(local) >= 2:
        local = re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)
    if host.startswith("[") and host.endswith("]"):
        return Mailbox(local, HostNameLiteral(host[1:-1]))
    return Mailbox(local, HostNameDomain(host))

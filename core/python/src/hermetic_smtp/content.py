"""Messages as octets for a client, and what has to be known of them.

Owns the way from `EmailMessage` to octets and the facts that the engine wants beforehand. Refuses to repair: octets are sent as they
are. Nothing here fails but by what the standard library's `email` raises.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import email.utils
import re
from collections.abc import Iterable

from hermetic_smtp.values import ContentFacts

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def facts(content: bytes) -> ContentFacts:
    """What is known of octets that are to be sent."""
    eight_bit = not content.isascii()
    return ContentFacts(
        size=len(content),
        eight_bit=eight_bit,
        bare_line_ends=_BARE.search(content) is not None,
        longest_line=max(map(len, content.split(b"\r\n"))),
        utf8_header=eight_bit and _utf8_header(content),
    )


def _utf8_header(content: bytes) -> bool:
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    return any(not str(value).isascii() for part in message.walk() for _, value in part.raw_items())


def octets(message: email.message.Message, *, utf8: bool, eight_bit: bool) -> bytes:
    """The message with CRLF, without `Bcc`. `utf8`: header fields may have UTF-8 in them; `eight_bit`: the body octets above 127."""
    bcc = message.get_all("Bcc", [])
    del message["Bcc"]
    try:
        policy = message.policy if isinstance(message.policy, email.policy.EmailPolicy) else email.policy.SMTP
        return message.as_bytes(policy=policy.clone(linesep="\r\n", utf8=utf8, cte_type="8bit" if eight_bit else "7bit"))
    finally:
        for field in bcc:
            message["Bcc"] = field


def addresses(message: email.message.Message, fields: Iterable[str]) -> list[str]:
    """The addresses in these header fields, each once."""
    found = email.utils.getaddresses([str(value) for field in fields for value in message.get_all(field, [])])
    return list(dict.fromkeys(address for _, address in found if address))

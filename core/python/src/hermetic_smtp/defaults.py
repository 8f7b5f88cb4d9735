"""Bounds and options for who names none: those of the engine's own `Default`s.

Times in milliseconds, sizes in octets. Change one with `SERVER_LIMITS._replace(message_size=1_000_000)`.
"""

from __future__ import annotations

from hermetic_smtp.values import ClientLimits, ServerLimits

SERVER_LIMITS = ServerLimits(
    message_size=50 * 1024 * 1024,
    recipients=1000,
    recipient_batch=100,
    command_line=2048,
    auth_line=16_384,
    text_line=0,
    errors=40,
    idle_commands=500,
    messages=0,
    auth_failures=5,
    command_timeout=300_000,
    data_timeout=180_000,
    handshake_timeout=60_000,
    data_allowance=600_000,
    data_rate=512,
    session=0,
    hold_for=0,
    hold_until=0,
    deliver_by=0,
)
"""Bounds of a receiving session."""

CLIENT_LIMITS = ClientLimits(
    reply_line=2048,
    reply_lines=256,
    reply_size=65_536,
    auth_line=12_288,
    reply_text=1024,
    received=64 * 1024 * 1024,
    recipients=1000,
    pipeline=100,
    messages=0,
    challenges=10,
    greeting_timeout=300_000,
    command_timeout=300_000,
    handshake_timeout=60_000,
    mail_timeout=300_000,
    rcpt_timeout=300_000,
    data_timeout=120_000,
    block_timeout=180_000,
    message_timeout=600_000,
    quit_timeout=10_000,
    idle_timeout=60_000,
)
"""Bounds of a sending session."""

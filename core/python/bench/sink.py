"""A server that takes every message into memory and drops it: `sink.py hermetic|aiosmtpd PORT`. Both are asyncio's standard loop in one
process, both build an envelope and join the content, both ask an `async` method for each message."""

from __future__ import annotations

import asyncio
import sys


class Hermetic:
    async def message(self, session: object, message: object) -> str:
        return "queued"


class Aiosmtpd:
    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802 - aiosmtpd's name
        return "250 2.0.0 queued"


async def main(peer: str, port: int) -> None:
    if peer == "hermetic":
        from hermetic_smtp import Server

        async with Server(Hermetic(), port=port, name="bench"):
            await asyncio.Event().wait()
    from aiosmtpd.smtp import SMTP

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Aiosmtpd(), hostname="bench", data_size_limit=50 * 1024 * 1024, timeout=3600), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

"""The client over sockets: to aiosmtpd, to our own server, and to servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import ssl
from email.message import EmailMessage

import aiosmtpd.controller
import aiosmtpd.smtp
import pytest

from hermetic_smtp import CLIENT_LIMITS, Client, LoginError, MisuseError, PeerError
from hermetic_smtp import values as v

CONTENT = b"Subject: x\r\n\r\n.dot\r\n..\r\n" + b"line\r\n" * 50_000


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


async def send(server, *recipients, content=CONTENT, **options):
    async with Client("localhost", server.port, hello_name="client.test", **options) as client:
        return await client.send("a@b.test", recipients, content)


def fates(deliveries):
    return [(d.address, d.outcome.fate.value, d.outcome.cause.value, d.status) for d in deliveries]


def free_port():
    """aiosmtpd's controller wants to know its port beforehand."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Inbox:
    def __init__(self):
        self.envelopes = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == "no@d.test":
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.envelopes.append((session.ssl is not None, session.authenticated, envelope))
        return "250 2.0.0 queued"


@pytest.mark.parametrize("secure", [False, True])
def test_to_aiosmtpd(server_tls, client_tls, secure):
    inbox = Inbox()

    def check(server, session, envelope, mechanism, auth_data):
        good = auth_data.login == b"alice" and auth_data.password == b"secret"
        return aiosmtpd.smtp.AuthResult(success=good, handled=False)

    controller = aiosmtpd.controller.Controller(
        inbox, hostname="127.0.0.1", port=free_port(), authenticator=check, tls_context=server_tls if secure else None, require_starttls=secure,
        auth_require_tls=secure,
    )  # fmt: skip
    controller.start()
    try:
        port = controller.port

        async def main():
            client = Client("localhost", port, hello_name="client.test", tls=client_tls, starttls="required" if secure else "never", plaintext_login=True)
            async with client:
                assert client.peer.tls is secure
                with pytest.raises(LoginError):
                    await client.login("alice", "wrong")
                await client.login("alice", "secret")
                assert client.peer.authenticated
                return await client.send("a@b.test", ["c@d.test", "no@d.test", "e@d.test"], CONTENT)

        assert fates(run(main())) == [
            ("c@d.test", "accepted", "reply", "2.0.0"),
            ("no@d.test", "permanent", "reply", "5.1.1"),
            ("e@d.test", "accepted", "reply", "2.0.0"),
        ]
    finally:
        controller.stop()
    ((tls, authenticated, envelope),) = inbox.envelopes
    assert tls is secure and authenticated
    assert envelope.content == CONTENT and envelope.rcpt_tos == ["c@d.test", "e@d.test"]


def test_to_our_own(smtp_servers, server_tls, client_tls):
    server = smtp_servers(tls=server_tls, users={"alice": "secret"}, require_tls=True, require_login=True)
    server.refuse("no@d.test", 550, "5.1.1", "No such user")

    async def main():
        async with Client("localhost", server.port, tls=client_tls) as client:
            await client.login("alice", "secret")
            first = await client.send("a@b.test", ["c@d.test", "no@d.test"], CONTENT)
            return first, await client.send("", ["c@d.test"], b"A: b\r\n\r\nno end")

    first, second = run(main())
    assert [d.accepted for d in first] == [True, False]
    assert "no@d.test: permanent (reply) 5.1.1: 550 No such user" in map(str, first)
    assert second[0].accepted
    assert [m.content for m in server.messages] == [CONTENT, b"A: b\r\n\r\nno end"]
    assert server.messages[0].tls and server.messages[0].user == "alice" and server.messages[1].mail_from == ""


def test_implicit_tls(smtp_servers, server_tls, client_tls):
    server = smtp_servers(tls=server_tls, implicit_tls=True)
    assert run(send(server, "c@d.test", tls=client_tls, implicit_tls=True))[0].accepted
    assert server.messages[0].tls


def test_a_certificate_that_nobody_knows(smtp_servers, server_tls):
    server = smtp_servers(tls=server_tls)
    with pytest.raises(PeerError, match="TLS failed"):
        run(send(server, "c@d.test", starttls="required"))
    server = smtp_servers(tls=server_tls, implicit_tls=True)
    with pytest.raises(PeerError, match="no connection could be made"):
        run(send(server, "c@d.test", implicit_tls=True))


def test_messages_of_the_standard_library(smtp_server):
    message = EmailMessage()
    message["From"], message["To"], message["Cc"], message["Bcc"] = "A <a@b.test>", "c@d.test, E <e@f.test>", "g@h.test", "secret@d.test"
    message["Subject"] = "Grüße"
    message.set_content("Hällo\n")

    async def main():
        async with Client("localhost", smtp_server.port) as client:
            return await client.send_message(message)

    assert all(delivery.accepted for delivery in run(main()))
    (got,) = smtp_server.messages
    assert got.rcpt_tos == ["c@d.test", "e@f.test", "g@h.test", "secret@d.test"] and got.mail_from == "a@b.test"
    assert b"Bcc" not in got.content and b"\n" not in got.content.replace(b"\r\n", b"")
    assert got.parsed()["Subject"] == "Grüße" and got.parsed().get_content().strip() == "Hällo"
    assert message["Bcc"] == "secret@d.test"


def test_many_recipients_go_in_several_transactions(smtp_server):
    recipients = [f"user{n}@d.test" for n in range(25)]
    deliveries = run(send(smtp_server, *recipients, limits=CLIENT_LIMITS._replace(recipients=10)))
    assert [d.address for d in deliveries] == recipients and all(d.accepted for d in deliveries)
    assert [len(m.rcpt_tos) for m in smtp_server.messages] == [10, 10, 5]


@pytest.mark.parametrize(
    ("point", "octets", "fate", "cause"),
    [("sender", 0, "temporary", "lost"), ("recipient", 0, "temporary", "lost"), ("content", 100, "temporary", "lost"), ("message", 0, "unknown", "lost")],
)
def test_a_connection_that_is_lost(smtp_server, point, octets, fate, cause):
    smtp_server.drop(at=point, octets=octets)
    content = CONTENT * 40 if point == "content" else CONTENT
    (delivery,) = run(send(smtp_server, "c@d.test", content=content))
    assert (delivery.outcome.fate.value, delivery.outcome.cause.value) == (fate, cause)
    assert smtp_server.messages == []


def test_refusals(smtp_server):
    smtp_server.refuse(None, 452, "4.3.1", "Full", at="message", times=1)
    assert fates(run(send(smtp_server, "c@d.test"))) == [("c@d.test", "temporary", "reply", "4.3.1")]
    smtp_server.refuse("a@b.test", 550, "5.7.1", "Not you", at="sender", times=1)
    assert fates(run(send(smtp_server, "c@d.test"))) == [("c@d.test", "permanent", "reply", "5.7.1")]
    smtp_server.refuse(None, 421, "4.3.2", "Bye", at="recipient", times=1)
    assert fates(run(send(smtp_server, "c@d.test")))[0][1] == "temporary"
    smtp_server.refuse(None, 554, "5.7.1", "Not you", at="connection", times=1)
    with pytest.raises(PeerError, match="554 .*Not you") as error:
        run(send(smtp_server, "c@d.test"))
    assert error.value.failure.fault is v.Fault.REFUSED and error.value.reply.code == 554


def test_prdr_has_an_answer_for_each(smtp_server):
    smtp_server.refuse("two@d.test", 550, "5.7.1", "Not for two", at="message")
    assert fates(run(send(smtp_server, "one@d.test", "two@d.test"))) == [
        ("one@d.test", "accepted", "reply", "2.0.0"),
        ("two@d.test", "permanent", "reply", "5.7.1"),
    ]
    assert smtp_server.messages[0].rcpt_tos == ["one@d.test"]


async def talk(script, **options):
    """A server that says what it is told to. `script` reads and writes."""
    served = asyncio.get_running_loop().create_future()

    async def accept(reader, writer):
        try:
            await script(reader, writer)
        except Exception as error:  # noqa: BLE001 - told to the test
            served.set_exception(error)
        else:
            served.set_result(None)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    client = Client("127.0.0.1", server.sockets[0].getsockname()[1], hello_name="client.test", **options)
    try:
        await client.connect()
        return client, await client.send("a@b.test", ["c@d.test"], CONTENT)
    finally:
        client.abort()
        server.close()
        await asyncio.wait_for(asyncio.wait([served]), 10)


def test_plaintext_behind_starttls_ends_the_session(client_tls):
    """Replies that somebody put behind the reply to STARTTLS, in one segment and in one of its own, are never taken for the server's."""

    async def one_segment(reader, writer):
        writer.write(b"220 mx ESMTP\r\n")
        await reader.readline()
        writer.write(b"250-mx\r\n250 STARTTLS\r\n")
        assert await reader.readline() == b"STARTTLS\r\n"
        writer.write(b"220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n")
        assert await reader.read() == b""

    with pytest.raises(PeerError) as error:
        run(talk(one_segment, tls=client_tls))
    assert error.value.failure.fault is v.Fault.PLAINTEXT

    async def two_segments(reader, writer):
        writer.write(b"220 mx ESMTP\r\n")
        await reader.readline()
        writer.write(b"250-mx\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(b"220 go\r\n")
        await reader.read(1)
        writer.write(b"250-mx\r\n250 AUTH PLAIN\r\n")
        # What comes is the handshake and its end; no EHLO in the clear.
        assert b"EHLO" not in await reader.read()

    with pytest.raises(PeerError, match="TLS failed"):
        run(talk(two_segments, tls=client_tls))


@pytest.mark.parametrize(
    ("greeting", "fault"),
    [
        (b"hello\r\n", v.Fault.BAD_REPLY),
        (b"220 " + b"x" * 10_000 + b"\r\n", v.Fault.TOO_MUCH),
        (b"220-x\r\n" * 1000, v.Fault.TOO_MUCH),
        (b"421 4.3.2 not now\r\n", v.Fault.LEAVING),
        (b"", v.Fault.LOST),
        (b"\0\xff\r\n", v.Fault.BAD_REPLY),
    ],
)
def test_servers_that_misbehave(greeting, fault):
    async def script(reader, writer):
        writer.write(greeting)
        if greeting:
            await reader.read()

    with pytest.raises(PeerError) as error:
        run(talk(script))
    assert error.value.failure.fault is fault
    assert str(error.value).startswith("The session with the server failed at")


def test_a_server_that_says_nothing():
    async def script(reader, writer):
        await reader.read()

    with pytest.raises(PeerError) as error:
        run(talk(script, limits=CLIENT_LIMITS._replace(greeting_timeout=200)))
    assert error.value.failure.fault is v.Fault.TIMED_OUT


def test_a_server_that_does_not_read():
    async def script(reader, writer):
        writer.write(b"220 mx\r\n")
        await reader.readline()
        writer.write(b"250 mx\r\n")
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await asyncio.sleep(1.5)

    async def main():
        return await talk(script, limits=CLIENT_LIMITS._replace(block_timeout=500))

    global CONTENT
    content, CONTENT = CONTENT, CONTENT * 100
    try:
        _, (delivery,) = run(main())
    finally:
        CONTENT = content
    assert delivery.outcome.fate is v.Fate.TEMPORARY and delivery.outcome.cause is v.Cause.TIMED_OUT


def test_nobody_there():
    with pytest.raises(PeerError, match="no connection could be made"):
        run(Client("127.0.0.1", 1).connect())


def test_calls_out_of_order(smtp_server):
    async def main():
        client = Client("localhost", smtp_server.port, hello_name="client.test")
        with pytest.raises(MisuseError, match="`connect` comes first"):
            await client.send("a@b.test", ["c@d.test"], CONTENT)
        await client.quit()
        await client.connect()
        with pytest.raises(MisuseError, match="there is a session already"):
            await client.connect()
        with pytest.raises(MisuseError, match="at least one recipient"):
            await client.send("a@b.test", [], CONTENT)
        with pytest.raises(MisuseError, match="at least one recipient"):
            await client.send("a@b.test", "c@d.test", CONTENT)
        with pytest.raises(MisuseError, match="local@domain"):
            await client.send("a@b.test", ["nobody"], CONTENT)
        with pytest.raises(MisuseError, match="deliver"):
            await client.send("a@b.test", ["x>\r\nDATA\r\n@d.test"], CONTENT)
        with pytest.raises(MisuseError, match="octets"):
            await client.send("a@b.test", ["c@d.test"], "text")
        with pytest.raises(LoginError, match="offers neither"):
            await client.login("a", "b")
        smtp_server.delay(0.2, at="message")
        first = asyncio.create_task(client.send("a@b.test", ["c@d.test"], CONTENT))
        await asyncio.sleep(0)
        for call in (client.send("a@b.test", ["c@d.test"], CONTENT), client.quit(), client.login("a", "b")):
            with pytest.raises(MisuseError, match="another call of this client has not ended"):
                await call
        assert (await first)[0].accepted
        await client.quit()
        await client.quit()
        with pytest.raises(MisuseError, match="the session has ended; `connect` again"):
            await client.send("a@b.test", ["c@d.test"], CONTENT)
        assert (await client.connect()).name == "mx.example.test"
        await client.quit()
        with pytest.raises(MisuseError, match="never, opportunistic, required"):
            Client("localhost", starttls="maybe")

    run(main())
    assert len(smtp_server.messages) == 1


def test_a_session_that_is_aborted_while_it_sends(smtp_server):
    async def main():
        smtp_server.delay(30, at="message")
        client = Client("localhost", smtp_server.port)
        await client.connect()
        sending = asyncio.create_task(client.send("a@b.test", ["c@d.test", "e@f.test"], CONTENT))
        await asyncio.sleep(0.3)
        client.abort()
        return await sending

    assert [(d.outcome.fate, d.outcome.cause) for d in run(main())] == [(v.Fate.UNKNOWN, v.Cause.ABANDONED)] * 2


def test_a_call_that_is_given_up(smtp_server):
    async def main():
        smtp_server.delay(30, at="message")
        client = Client("localhost", smtp_server.port)
        await client.connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.send("a@b.test", ["c@d.test"], CONTENT)
        with pytest.raises(MisuseError, match="connect"):
            await client.send("a@b.test", ["c@d.test"], CONTENT)

    run(main())


@pytest.mark.parametrize("name", ["evil\r\nMAIL FROM:<a@b.test>", "two words", "\0", "x" * 256])
def test_hello_names_that_cannot_be_said(name):
    with pytest.raises(MisuseError, match="hello_name"):
        Client("localhost", hello_name=name)


def test_tls_versions_are_the_callers(smtp_servers, server_tls, certificate):
    server = smtp_servers(tls=server_tls)
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert run(send(server, "c@d.test", tls=context))[0].accepted
    assert server.messages[0].tls

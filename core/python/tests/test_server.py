"""The server over sockets: clients that behave, clients that do not, STARTTLS, answers, limits, draining."""

from __future__ import annotations

import asyncio
import base64
import logging
import smtplib
import socket
import ssl
import time

import pytest

from hermetic_smtp import SERVER_LIMITS, Handler, MisuseError, Refused, Server, address, refuse
from hermetic_smtp import values as v
from hermetic_smtp.testing import SmtpServer


class Line:
    """A client that says what it is told to, octet by octet if need be."""

    def __init__(self, server, timeout=10.0):
        self.socket = socket.create_connection((server.host, server.port), timeout)
        self.file = self.socket.makefile("rb")

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def reply(self) -> bytes:
        said = b""
        while line := self.file.readline():
            said += line
            if line[3:4] == b" ":
                break
        return said

    def rest(self) -> bytes:
        try:
            return self.file.read()
        except ConnectionResetError:
            return b""

    def secure(self, context: ssl.SSLContext) -> None:
        self.file.close()
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()


def test_content_comes_octet_for_octet(smtp_server):
    content = b"Subject: x\r\n\r\n..\r\n.a\r\n \xe4\xf6 \x00 \r\n" + b"z" * 998 + b"\r\n" + b"line\r\n" * 100_000
    dotted = content.replace(b"\r\n.", b"\r\n..")
    with Line(smtp_server) as line:
        assert line.reply().startswith(b"220 ")
        line.say(b"EHLO c.test\r\nMAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
        replies = [line.reply() for _ in range(4)]
        assert replies[-1].startswith(b"354 ")
        line.say(dotted + b".\r\nQUIT\r\n")
        assert line.reply().startswith(b"250 2.0.0")
        assert line.reply().startswith(b"221 ")
        assert line.rest() == b""
    (message,) = smtp_server.messages
    assert message.content == content and message.mail_from == "" and message.rcpt_tos == ["a@b.test"]


def test_any_cut_of_the_stream_is_the_same(smtp_servers):
    dialogue = b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nA: b\r\n\r\n..\r\n.\r\nQUIT\r\n"
    server = smtp_servers()
    said = []
    for size in (1, 2, 7, len(dialogue)):
        with Line(server) as line:
            line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(dialogue), size):
                line.say(dialogue[at : at + size])
                if size < 10:
                    time.sleep(0.001)
            said.append(line.rest())
    assert len(set(said)) == 1
    assert [message.content for message in server.messages] == [b"A: b\r\n\r\n.\r\n"] * 4


def test_plaintext_behind_starttls_is_never_read(smtp_servers, server_tls, client_tls):
    server = smtp_servers(tls=server_tls)
    injected = b"EHLO evil.test\r\nMAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\nevil\r\n.\r\n"
    with Line(server) as line:
        line.reply()
        line.say(b"EHLO c.test\r\n")
        assert b"STARTTLS" in line.reply()
        line.say(b"STARTTLS\r\n" + injected)
        assert line.reply().startswith(b"220 ")
        line.secure(client_tls)
        # Nothing of what was injected is answered inside TLS; the session is where it was at its start.
        line.say(b"MAIL FROM:<a@b.test>\r\n")
        assert line.reply().startswith(b"503 ")
        line.say(b"EHLO c.test\r\n")
        reply = line.reply()
        assert reply.startswith(b"250-") and b"STARTTLS" not in reply
        line.say(b"QUIT\r\n")
        assert line.reply().startswith(b"221 ")
        assert line.rest() == b""
    assert server.messages == []


def test_plaintext_in_a_segment_of_its_own_breaks_the_handshake(smtp_servers, server_tls, client_tls):
    server = smtp_servers(tls=server_tls)
    with Line(server) as line:
        line.reply()
        line.say(b"EHLO c.test\r\n")
        line.reply()
        line.say(b"STARTTLS\r\n")
        line.reply()
        line.say(b"EHLO evil.test\r\nMAIL FROM:<evil@evil.test>\r\n")
        rest = line.rest()
        # At most a TLS alert comes back, never a reply.
        assert b"250" not in rest
    assert server.messages == []


def test_a_handshake_that_breaks_leaves_nothing(smtp_servers, server_tls):
    server = smtp_servers(tls=server_tls, limits=SERVER_LIMITS._replace(handshake_timeout=500))
    for behind in (b"", b"\x16\x03\x01\x00\x10", b"no TLS at all\r\n", None):
        with Line(server) as line:
            line.reply()
            line.say(b"EHLO c.test\r\nSTARTTLS\r\n")
            line.reply()
            line.reply()
            if behind is None:
                # Nothing at all: time is what ends it.
                assert b"250" not in line.rest()
            else:
                line.say(behind)
    end = time.monotonic() + 5
    while server._server.connections and time.monotonic() < end:
        time.sleep(0.01)
    assert server._server.connections == 0


def test_a_handshake_waits_until_the_replies_before_it_were_read(smtp_servers, server_tls, client_tls):
    server = smtp_servers(tls=server_tls, limits=SERVER_LIMITS._replace(idle_commands=1_000_000))
    with Line(server) as line:
        line.say(b"EHLO c.test\r\n" + b"HELP\r\n" * 60_000 + b"STARTTLS\r\n")
        time.sleep(0.5)
        while not line.reply().startswith(b"220 2.0.0"):
            pass
        line.secure(client_tls)
        line.say(b"EHLO c.test\r\n")
        assert line.reply().startswith(b"250-")


def test_what_comes_with_the_end_of_the_handshake_is_read(smtp_servers, server_tls, client_tls):
    server = smtp_servers(tls=server_tls)
    with Line(server) as line:
        line.reply()
        line.say(b"EHLO c.test\r\nSTARTTLS\r\n")
        line.reply()
        line.reply()
        line.secure(client_tls)
        line.say(b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
        assert [line.reply()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
        line.say(b"A: b\r\n\r\n" + b"x\r\n" * 200_000 + b".\r\n")
        assert line.reply().startswith(b"250")
    (message,) = server.messages
    assert message.tls and len(message.content) == 8 + 600_000


def test_implicit_tls(smtp_servers, server_tls, client_tls):
    server = smtp_servers(tls=server_tls, implicit_tls=True, users={"alice": "secret"}, require_login=True)
    with smtplib.SMTP_SSL("localhost", server.port, context=client_tls) as client:
        client.login("alice", "secret")
        client.sendmail("a@b.test", ["c@d.test"], b"A: b\r\n\r\nhello\r\n")
    assert server.messages[0].tls and server.messages[0].user == "alice"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_auth_inside_tls(smtp_servers, server_tls, client_tls, mechanism):
    server = smtp_servers(tls=server_tls, users={"alice": "sécret"})
    with Line(server) as line:
        line.reply()
        line.say(b"EHLO c.test\r\n")
        assert b"AUTH" not in line.reply()
        line.say(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        assert line.reply()[:1] == b"5"
        line.say(b"STARTTLS\r\n")
        line.reply()
        line.secure(client_tls)
        line.say(b"EHLO c.test\r\n")
        assert b"AUTH PLAIN LOGIN" in line.reply()
        for password, code in (("wrong", b"535"), ("sécret", b"235")):
            if mechanism == "PLAIN":
                line.say(b"AUTH PLAIN\r\n")
                assert line.reply() == b"334 \r\n"
                line.say(base64.b64encode(f"\0alice\0{password}".encode()) + b"\r\n")
            else:
                line.say(b"AUTH LOGIN\r\n")
                assert line.reply() == b"334 " + base64.b64encode(b"Username:") + b"\r\n"
                line.say(base64.b64encode(b"alice") + b"\r\n")
                assert line.reply() == b"334 " + base64.b64encode(b"Password:") + b"\r\n"
                line.say(base64.b64encode(password.encode()) + b"\r\n")
            assert line.reply()[:3] == code
        line.say(b"QUIT\r\n")


@pytest.mark.parametrize(
    "said", [b"AUTH PLAIN " + base64.b64encode(b"no nul") + b"\r\n", b"AUTH PLAIN ====\r\n", b"AUTH PLAIN AAAA\r\n", b"AUTH LOGIN " + base64.b64encode(b"\xff") + b"\r\n"]
)
def test_malformed_auth(smtp_servers, said):
    server = smtp_servers(users={"a": "b"}, plaintext_login=True)
    with Line(server) as line:
        line.reply()
        line.say(b"EHLO c.test\r\n")
        line.reply()
        line.say(said)
        assert line.reply()[:3] == b"501"
        line.say(b"NOOP\r\n")
        assert line.reply()[:3] == b"250"


class Everything(Handler):
    """Answers by what is asked."""

    def __init__(self):
        self.seen = []

    def hello(self, session, hello):
        self.seen.append(hello.raw)

    async def sender(self, session, sender):
        who = address.text(sender)
        if who == "slow@b.test":
            await asyncio.sleep(60)
        if who == "bug@b.test":
            raise KeyError("a bug")
        if who == "odd@b.test":
            return 3.14
        if who == "bad@b.test":
            return v.Refusal(250, 0, 0, "x")
        if who == "forge@b.test":
            return refuse(550, "5.7.1", "no\r\n250 2.0.0 forged")
        if who == "no@b.test":
            raise Refused(552, "5.2.2", "Full")
        return "Sender is fine"

    def recipient(self, session, recipient):
        return None if "ok" in address.text(recipient) else refuse(550, "5.1.1", "No such user")

    async def verify(self, session, argument):
        return {"known": "Known <known@b.test>", "no": refuse(550, "5.1.1")}.get(argument)

    async def message(self, session, message):
        self.seen.append((message, list(session.recipients)))
        return [refuse(451, "4.2.0", "Later") if "first" in to else None for to in message.rcpt_tos]


def serve(handler, talk, **options):
    """Runs a server around something blocking."""

    async def main():
        async with Server(handler, **options) as server:
            return await asyncio.to_thread(talk, server)

    return asyncio.run(asyncio.wait_for(main(), 60))


def test_answers(caplog):
    handler = Everything()

    def talk(server):
        with Line(server) as line:
            line.reply()
            line.say(b"EHLO c.test\r\n")
            line.reply()
            for who, code in {
                b"bug": b"451 4.3.0", b"odd": b"451 4.3.0", b"bad": b"451 4.3.0", b"slow": b"451 4.3.0", b"no": b"552 5.2.2 Full"
            }.items():
                line.say(b"MAIL FROM:<" + who + b"@b.test>\r\n")
                assert line.reply().startswith(code), who
            line.say(b"MAIL FROM:<forge@b.test>\r\nNOOP\r\n")
            replies = line.reply(), line.reply()
            assert b"\r\n250 2.0.0 forged" not in replies[0] and replies[1].startswith(b"250 2.0.0")
            for said, wanted in {
                b"VRFY known": b"250 2.1.5 Known <known@b.test>", b"VRFY no": b"550 5.1.1", b"VRFY other": b"252",
                b"MAIL FROM:<a@b.test>": b"250 2.1.0 Sender is fine", b"RCPT TO:<bad@b.test>": b"550 5.1.1 No such user",
                b"RCPT TO:<ok@b.test>": b"250", b"DATA": b"354", b"A: b\r\n\r\nx\r\n.": b"250",
            }.items():
                line.say(said + b"\r\n")
                reply = line.reply()
                assert reply.startswith(wanted), (said, reply)

    with caplog.at_level(logging.ERROR, "hermetic_smtp"):
        serve(handler, talk, patience=0.5)
    told = caplog.text
    assert "KeyError" in told and "3.14" in told and "more than 0.5 s" in told and "cannot be given" in told
    assert handler.seen[0] == "c.test"


class Wrong:
    """Answers that cannot be given, at every question, without `async`."""

    def __init__(self, at):
        self.at = at

    def __getattr__(self, name):
        if name not in ("connection", "hello", "login", "sender", "recipient", "verify", "data", "message"):
            raise AttributeError(name)
        return lambda *_: v.Refusal(250, 0, 0, "x") if name == self.at else None


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("connection", b""), ("hello", b"EHLO c.test\r\n"), ("login", b"EHLO c.test\r\nAUTH PLAIN AGEAYg==\r\n"), ("verify", b"VRFY x\r\n"),
        ("sender", b"HELO c.test\r\nMAIL FROM:<>\r\n"), ("recipient", b"HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n"),
        ("data", b"HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n"),
        ("message", b"HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nA: b\r\n.\r\n"),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_given(at, said, caplog):
    def talk(server):
        with Line(server) as line:
            line.say(said)
            line.socket.shutdown(socket.SHUT_WR)
            replies = line.rest().splitlines()
            assert replies[-1].startswith((b"451 4.3.0", b"454", b"421")) or any(r.startswith(b"451 4.3.0") for r in replies), replies
        assert server.failures == 0

    serve(Wrong(at), talk, plaintext_login=True)
    assert "cannot be given" in caplog.text


def test_an_answer_that_cannot_be_given_leaves_no_recipient():
    kept = []

    class Mixed:
        def recipient(self, session, recipient):
            return v.Refusal(250, 0, 0, "x") if "bad" in address.text(recipient) else None

        def message(self, session, message):
            kept.append(message.rcpt_tos)

    def talk(server):
        with Line(server) as line:
            line.say(b"HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<one@b.test>\r\nRCPT TO:<bad@b.test>\r\n")
            replies = [line.reply()[:3] for _ in range(5)]
            line.say(b"RCPT TO:<two@b.test>\r\nDATA\r\nA: b\r\n\r\n.\r\n")
            replies += [line.reply()[:3] for _ in range(3)]
        accepted = [b"one@b.test"] * (replies[3] == b"250") + [b"two@b.test"]
        assert replies[4:] == [b"451", b"250", b"354", b"250"], replies
        assert kept == [[of.decode() for of in accepted]]

    serve(Mixed(), talk)


def test_lmtp_tells_each_recipient():
    handler = Everything()

    def talk(server):
        with Line(server) as line:
            line.reply()
            line.say(b"LHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<first-ok@b.test>\r\nRCPT TO:<second-ok@b.test>\r\nDATA\r\nA: b\r\n\r\n.\r\n")
            replies = [line.reply() for _ in range(7)]
            assert replies[-2].startswith(b"451 4.2.0 Later") and replies[-1].startswith(b"250")

    serve(handler, talk, protocol=v.Protocol.LMTP)


def test_a_flood_without_reading_is_bounded(smtp_servers):
    server = smtp_servers(limits=SERVER_LIMITS._replace(idle_commands=100_000_000, errors=100_000_000))
    with Line(server, timeout=2) as line:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200_000_000:
                sent += line.socket.send(b"HELP\r\n" * 10_000)
        assert sent < 100_000_000
        # Others are served meanwhile.
        with smtplib.SMTP(server.host, server.port) as client:
            client.sendmail("a@b.test", ["c@d.test"], b"A: b\r\n\r\n")
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    "said",
    [b"\0" * 100_000, b"\xff\xfe" * 50_000, b"EHLO " + b"a" * 100_000 + b"\r\n", b"\r\n" * 50_000, b"AUTH PLAIN " + b"A" * 100_000, b"\n" * 100_000],
)
def test_nonsense_ends_nothing_but_itself(smtp_server, said):
    with Line(smtp_server) as line:
        line.reply()
        try:
            line.say(said)
            line.say(b"\r\nQUIT\r\n")
        except OSError:
            pass
        line.rest()
    with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
        assert client.noop()[0] == 250
    assert smtp_server._server.failures == 0


def test_content_is_bounded(smtp_servers):
    server = smtp_servers(limits=SERVER_LIMITS._replace(message_size=10_000))
    with Line(server) as line:
        line.reply()
        line.say(b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
        for _ in range(4):
            line.reply()
        line.say(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 10_000 + b".\r\n")
        assert line.reply().startswith(b"552 5.3.4")
    assert server.messages == []


def test_content_of_all_sessions_together_is_bounded(smtp_servers, caplog):
    server = smtp_servers(most_held=300_000)
    begin = b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n"
    with Line(server) as one, Line(server) as two:
        for line in (one, two):
            line.say(begin)
            for _ in range(5):
                line.reply()
            line.say(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 2500)
            time.sleep(0.3)
        assert two.rest() == b""
        one.say(b".\r\n")
        assert one.reply().startswith(b"250")
    assert len(server.messages) == 1 and "hold more than 300000" in caplog.text
    end = time.monotonic() + 5
    while server._server.connections and time.monotonic() < end:
        time.sleep(0.01)
    assert server._server.held == 0


def test_a_client_that_goes_away_leaves_nothing(smtp_server):
    for said in (b"", b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nhalf a mess"):
        with Line(smtp_server) as line:
            line.reply()
            line.say(said)
    end = time.monotonic() + 5
    while smtp_server._server.connections and time.monotonic() < end:
        time.sleep(0.01)
    assert smtp_server._server.connections == 0 and smtp_server.messages == []


def test_half_a_connection_is_answered(smtp_server):
    with Line(smtp_server) as line:
        line.say(b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nA: b\r\n\r\n.\r\nQUIT\r\n")
        line.socket.shutdown(socket.SHUT_WR)
        assert line.rest().count(b"\r\n250 ") >= 3
    assert len(smtp_server.messages) == 1


def test_timeouts(smtp_servers):
    server = smtp_servers(limits=SERVER_LIMITS._replace(command_timeout=300))
    begin = time.monotonic()
    with Line(server) as line:
        line.reply()
        assert line.reply().startswith(b"421 4.4.2")
        assert line.rest() == b""
    assert 0.2 < time.monotonic() - begin < 5


def test_too_many_connections(smtp_servers):
    server = smtp_servers(connections=2)
    with Line(server) as one, Line(server) as two:
        assert one.reply()[:3] == two.reply()[:3] == b"220"
        with Line(server) as three:
            assert three.reply().startswith(b"421 4.4.5")
            assert three.rest() == b""
    time.sleep(0.1)
    with Line(server) as four:
        assert four.reply()[:3] == b"220"


def test_draining_lets_a_transaction_end():
    handler = Everything()

    async def main():
        server = Server(handler)
        await server.start()
        reader, writer = await asyncio.open_connection(server.host, server.port)
        idle_reader, idle_writer = await asyncio.open_connection(server.host, server.port)
        await idle_reader.readline()
        writer.write(b"HELO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ok@b.test>\r\nDATA\r\n")
        for _ in range(5):
            await reader.readline()
        draining = asyncio.create_task(server.drain(10))
        assert (await idle_reader.readline()).startswith(b"421 4.3.2")
        with pytest.raises(OSError):
            await asyncio.open_connection(server.host, server.port)
        writer.write(b"A: b\r\n\r\n.\r\n")
        assert (await reader.readline()).startswith(b"250")
        assert (await reader.readline()).startswith(b"421")
        assert await draining is True
        for of in (writer, idle_writer):
            of.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_draining_waits_for_an_answer():
    class Slow:
        async def message(self, session, message):
            await asyncio.sleep(0.5)
            return "At last"

    async def main():
        server = Server(Slow())
        await server.start()
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"HELO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ok@b.test>\r\nDATA\r\nA: b\r\n\r\n.\r\n")
        for _ in range(5):
            await reader.readline()
        await asyncio.sleep(0.1)
        assert await server.drain(10) is True
        assert await reader.readline() == b"250 2.0.0 At last\r\n"
        assert (await reader.readline()).startswith(b"421")
        assert server.failures == 0
        writer.close()

    asyncio.run(asyncio.wait_for(main(), 30))


class Silly:
    """An engine's session that goes wrong in a way that is no trap."""

    def __init__(self, step):
        self.step = step

    def start(self, now):
        return v.Step(0, b"220 silly\r\n", [], False, [], v.NeedInput(), 1 << 63)

    def receive(self, now, octets):
        return self.step

    def close(self):
        pass


@pytest.mark.parametrize(
    ("consumed", "body"), [(0, []), (6, [v.PieceRange((0, 100))]), (6, [v.PieceRange((100, 1))])], ids=["takes nothing", "too long", "beyond"]
)
def test_an_engine_that_makes_no_sense_ends_its_connection(smtp_server, monkeypatch, caplog, consumed, body):
    server = smtp_server._server
    monkeypatch.setattr(server, "begin", lambda full: Silly(v.Step(consumed, b"", body, False, [], v.NeedInput(), 1 << 63)))
    with Line(smtp_server) as line:
        line.reply()
        line.say(b"NOOP\r\n")
        assert line.rest() == b""
    assert server.failures == 1 and "The engine" in caplog.text
    monkeypatch.undo()
    with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
        assert client.noop()[0] == 250


def test_draining_has_an_end():
    async def main():
        server = Server(Everything())
        await server.start()
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"HELO c.test\r\nMAIL FROM:<a@b.test>\r\n")
        for _ in range(3):
            await reader.readline()
        assert await server.drain(0.2) is False
        writer.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_events_are_told():
    seen = []

    def talk(server):
        with Line(server) as line:
            line.reply()
            line.say(b"BOGUS\r\n")
            line.reply()

    def tell(session, events):
        seen.extend(events)
        raise KeyError("a bug")

    serve(Everything(), talk, on_events=tell)
    assert [event.occasion for event in seen if event.occasion is v.Occasion.SYNTAX_ERROR]


class Empty:
    def messages(self):
        """A name that is none."""


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Server(Empty()), "none of the methods connection, hello"),
        (lambda: Server(Everything(), implicit_tls=True), "want tls"),
        (lambda: Server(Everything(), require_login=True), "the method login"),
        (lambda: Server(Everything(), connections=0), "above 0"),
        (lambda: refuse(250), "400 to 599"),
        (lambda: refuse(550, "4.1.1"), "5.x.y was expected"),
        (lambda: address.mailbox("nobody"), "local@domain was expected"),
        (lambda: SmtpServer(nonsense=1), "nonsense"),
    ],
)
def test_options_that_do_not_go_together(make, says):
    with pytest.raises((MisuseError, TypeError), match=says):
        make()


def test_a_server_has_an_order():
    async def main():
        server = Server(Everything())
        with pytest.raises(MisuseError, match="`start` comes first"):
            await server.drain()
        await server.close()
        await server.start()
        with pytest.raises(MisuseError, match="listens already"):
            await server.start()
        await server.close()
        await server.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("mailbox", "text"),
    [
        (v.Mailbox("a.b", v.HostNameDomain("c.test")), "a.b@c.test"),
        (v.Mailbox("a b", v.HostNameDomain("c.test")), '"a b"@c.test'),
        (v.Mailbox('q"\\', v.HostNameDomain("c.test")), '"q\\"\\\\"@c.test'),
        (v.Mailbox("a", v.HostNameLiteral("192.0.2.1")), "a@[192.0.2.1]"),
        (v.Mailbox("ä", v.HostNameDomain("ö.test")), "ä@ö.test"),
        (v.Mailbox(".", v.HostNameDomain("c.test")), '"."@c.test'),
    ],
)
def test_addresses(mailbox, text):
    assert address.text(mailbox) == text
    assert address.mailbox(text) == mailbox

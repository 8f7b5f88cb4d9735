"""The fixture `smtp_server`, as its users run it and rule by rule."""

from __future__ import annotations

import smtplib
import subprocess
import sys
import time

import pytest

from conftest import PACKAGE
from hermetic_smtp import MisuseError


def deliver(server, *recipients, sender="a@b.test"):
    with smtplib.SMTP(server.host, server.port, timeout=10) as client:
        return client.sendmail(sender, list(recipients) or ["c@d.test"], b"A: b\r\n\r\nhello\r\n")


def test_the_example_runs_as_a_user_runs_it():
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=PACKAGE / "examples" / "pytest", capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout


def test_refusals_are_exact(smtp_server):
    smtp_server.refuse("c@d.test", 550, "5.1.1", "No such user", times=1)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        deliver(smtp_server)
    assert refused.value.recipients == {"c@d.test": (550, b"5.1.1 No such user")}
    assert deliver(smtp_server) == {}
    smtp_server.refuse("no@d.test", 452, "4.2.2", "Full")
    assert deliver(smtp_server, "c@d.test", "no@d.test") == {"no@d.test": (452, b"4.2.2 Full")}
    assert [message.rcpt_tos for message in smtp_server.messages] == [["c@d.test"], ["c@d.test"]]


def test_the_newest_rule_wins_and_rules_end(smtp_server):
    always = smtp_server.refuse(None, 550, at="sender")
    once = smtp_server.refuse("a@b.test", 451, "4.7.1", "Later", at="sender", times=1)
    with pytest.raises(smtplib.SMTPSenderRefused, match="4.7.1 Later"):
        deliver(smtp_server)
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        deliver(smtp_server)
    assert refused.value.smtp_code == 550 and (always.used, once.used) == (1, 1)
    smtp_server.reset()
    assert deliver(smtp_server) == {}


@pytest.mark.parametrize(
    ("at", "error"),
    [("connection", smtplib.SMTPConnectError), ("hello", smtplib.SMTPHeloError), ("data", smtplib.SMTPDataError), ("message", smtplib.SMTPDataError)],
)
def test_refusals_at_every_point(smtp_server, at, error):
    smtp_server.refuse(None, 554, "5.7.1", "Not here", at=at)
    with pytest.raises(error, match="Not here"):
        deliver(smtp_server)
    assert smtp_server.messages == []


@pytest.mark.parametrize("at", ["connection", "hello", "sender", "recipient", "data", "content", "message"])
def test_connections_are_dropped_at_every_point(smtp_server, at):
    rule = smtp_server.drop(at=at, octets=5 if at == "content" else 0)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        deliver(smtp_server)
    assert rule.used == 1 and smtp_server.messages == []
    assert deliver(smtp_server) == {}


def test_a_message_that_was_taken_and_nobody_knows(smtp_server):
    smtp_server.drop(at="message", keep=True)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        deliver(smtp_server)
    assert len(smtp_server.messages) == 1


def test_delays(smtp_server):
    smtp_server.delay(0.4, at="recipient", address="c@d.test", times=1)
    begin = time.monotonic()
    deliver(smtp_server)
    assert 0.4 <= time.monotonic() - begin < 5
    smtp_server.delay(0.3)
    begin = time.monotonic()
    deliver(smtp_server)
    assert time.monotonic() - begin >= 0.3


def test_logins(smtp_servers):
    server = smtp_servers(users={"alice": "secret"}, plaintext_login=True)
    server.refuse(None, 454, "4.7.0", "Later", at="login", times=2)
    with smtplib.SMTP(server.host, server.port) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError, match="Later"):
            client.login("alice", "secret")
        client.login("alice", "secret")
        client.sendmail("a@b.test", ["c@d.test"], b"A: b\r\n\r\n")
    assert server.messages[0].user == "alice"


def test_waiting(smtp_server):
    with pytest.raises(TimeoutError, match="0 messages came"):
        smtp_server.wait_for(1, timeout=0.1)
    deliver(smtp_server)
    assert smtp_server.wait_for(1)[0].mail_from == "a@b.test"
    assert smtp_server.sessions == 1


def test_messages_are_bounded(smtp_servers):
    server = smtp_servers(most_messages=2)
    deliver(server)
    deliver(server)
    with pytest.raises(smtplib.SMTPDataError, match="no more messages"):
        deliver(server)
    assert len(server.messages) == 2


def test_servers_end(smtp_servers):
    server = smtp_servers()
    server.close()
    server.close()
    with pytest.raises(OSError):
        deliver(server)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (lambda s: s.refuse("a@b", 250), "400 to 599"),
        (lambda s: s.refuse("a@b", 550, "4.1.1"), "5.x.y"),
        (lambda s: s.refuse("a@b", 550, at="rcpt"), "one of connection, hello"),
        (lambda s: s.refuse("a@b", 550, at="hello"), "nobody is named at hello"),
        (lambda s: s.refuse(None, 550, at="content"), "nothing is answered while content comes"),
        (lambda s: s.refuse("a@b", 550, times=0), "1 or more"),
        (lambda s: s.delay(-1), "below 0"),
        (lambda s: s.delay(1, at="content"), "nothing is answered while content comes"),
        (lambda s: s.drop(at="hello", octets=3), "octets go with"),
        (lambda s: s.drop(at="hello", keep=True), "keep goes with"),
    ],
)
def test_scripts_that_cannot_be(smtp_server, script, says):
    with pytest.raises(MisuseError, match=says):
        script(smtp_server)

"""Clients that others wrote deliver octet for octet: smtplib, swaks, curl."""

from __future__ import annotations

import email.policy
import smtplib
import subprocess
from email.message import EmailMessage

import pytest

from conftest import program

BODY = "".join(f".line {n} ä\r\n" if n % 7 == 0 else f"line {n}\r\n" for n in range(2000))


@pytest.fixture
def server(smtp_servers, server_tls):
    return smtp_servers(tls=server_tls, users={"alice": "secret"}, require_login=True, require_tls=True)


def test_smtplib(server, client_tls):
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = "a@b.test", "c@d.test, e@f.test", "Grüße"
    message.set_content(BODY.replace("\r\n", "\n"), cte="8bit")
    with smtplib.SMTP("localhost", server.port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail("a@b.test", ["c@d.test"], b"A: b\r\n\r\n")
        assert refused.value.smtp_code == 530
        client.starttls(context=client_tls)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("alice", "wrong")
        client.login("alice", "secret")
        assert client.send_message(message) == {}
        assert client.send_message(message) == {}
    one, two = server.messages
    assert one.rcpt_tos == ["c@d.test", "e@f.test"] and one.user == "alice" and one.tls
    assert one.content == two.content == message.as_bytes()
    assert one.parsed()["Subject"] == "Grüße"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(server, tmp_path, mechanism):
    data = tmp_path / "message"
    data.write_bytes(f"Subject: swaks\n\n{BODY}".replace("\r\n", "\n").encode())
    ran = subprocess.run(
        [program("swaks"), "--server", "127.0.0.1", "--port", str(server.port), "--tls", "--auth", mechanism, "--auth-user", "alice",
         "--auth-password", "secret", "--from", "a@b.test", "--to", "c@d.test,e@f.test", "--data", f"@{data}", "--timeout", "10"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-2000:]
    (message,) = server.messages
    assert message.user == "alice" and message.tls and message.rcpt_tos == ["c@d.test", "e@f.test"]
    # swaks ends what it is given with an empty line of its own.
    assert message.content.removesuffix(b"\r\n") == f"Subject: swaks\r\n\r\n{BODY}".encode()


def test_curl(server, tmp_path, certificate):
    content = f"Subject: curl\r\n\r\n{BODY}".encode()
    data = tmp_path / "message"
    data.write_bytes(content)
    ran = subprocess.run(
        [program("curl"), "--silent", "--show-error", "--max-time", "20", "--ssl-reqd", "--cacert", str(certificate[0]),
         "--user", "alice:secret", "--mail-from", "a@b.test", "--mail-rcpt", "c@d.test", "--upload-file", str(data),
         f"smtp://localhost:{server.port}/c.test"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()
    (message,) = server.messages
    assert message.content == content and message.tls and message.user == "alice" and message.hello == "c.test"

#!/usr/bin/env python3
"""Sends one message with Python's smtplib.

smtplib_send.py JSON < message      JSON: the fields of Plan below; the message has CRLF line ends.
Prints a JSON object: the extensions, the refused recipients, the last reply. Exits 1 when all recipients were refused.
"""
import dataclasses, json, smtplib, ssl, sys


@dataclasses.dataclass
class Plan:
    port: int
    sender: str
    recipients: list
    how: str = "plain"  # plain, starttls, tls, lmtp
    socket: str = ""  # LMTP over this Unix socket
    user: str = ""
    password: str = ""
    mechanism: str = ""  # empty: the best that smtplib has
    mail_options: list = dataclasses.field(default_factory=list)
    rcpt_options: list = dataclasses.field(default_factory=list)


def lax():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main():
    plan = Plan(**json.loads(sys.argv[1]))
    message = sys.stdin.buffer.read()
    common = dict(local_hostname="client.example.org")
    if plan.how == "tls":
        client = smtplib.SMTP_SSL("127.0.0.1", plan.port, context=lax(), timeout=30, **common)
    elif plan.how == "lmtp":
        client = smtplib.LMTP(plan.socket, **common) if plan.socket else smtplib.LMTP("127.0.0.1", plan.port, **common)
    else:
        client = smtplib.SMTP("127.0.0.1", plan.port, timeout=30, **common)
    with client:
        if plan.how == "starttls":
            client.starttls(context=lax())
        client.ehlo_or_helo_if_needed()
        if plan.user and plan.mechanism:
            client.user, client.password = plan.user, plan.password
            step = getattr(client, "auth_" + plan.mechanism.lower().replace("-", "_"))
            client.auth(plan.mechanism, step)
        elif plan.user:
            client.login(plan.user, plan.password)
        refused = client.sendmail(plan.sender, plan.recipients, message, plan.mail_options, plan.rcpt_options)
        refused = {who: [code, text.decode()] for who, (code, text) in refused.items()}
        print(json.dumps({"extensions": client.esmtp_features, "refused": refused}))


main()

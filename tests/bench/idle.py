#!/usr/bin/env python3
"""What an idle session costs after real work: PSS of the server per session.

idle.py PID PORT [--tls] [--sessions 1000] [--rest 5]

Opens the sessions one after another on 127.0.0.1:PORT, delivers a message of 4 KiB and one of 1 MiB over each
(STARTTLS first with --tls), lets all of them rest, and prints how much the server's proportional set size grew, in KiB
a session, and how many sessions still answer. Linux only; reads /proc/PID/smaps_rollup.
"""
import argparse
import re
import socket
import ssl
import time

RECIPIENT = "b@example.test"


def pss(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return int(re.search(r"^Pss: +(\d+)", rollup.read(), re.M)[1])


class Session:
    def __init__(self, port: int, tls: bool):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.expect(220)
        self.say("EHLO client.example.test", 250)
        if tls:
            self.say("STARTTLS", 220)
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
            self.say("EHLO client.example.test", 250)

    def expect(self, code: int) -> None:
        reply = b""
        while not re.search(rb"(?m)^\d{3} [^\n]*\r\n\Z", reply):
            octets = self.sock.recv(4096)
            if not octets:
                raise ConnectionError(f"closed after {reply!r}")
            reply += octets
        if not reply.startswith(str(code).encode()):
            raise RuntimeError(f"wanted {code}, got {reply!r}")

    def say(self, line: str, code: int) -> None:
        self.sock.sendall(line.encode() + b"\r\n")
        self.expect(code)

    def deliver(self, size: int) -> None:
        self.say("MAIL FROM:<a@example.test>", 250)
        self.say(f"RCPT TO:<{RECIPIENT}>", 250)
        self.say("DATA", 354)
        line = b"x" * 76 + b"\r\n"
        self.sock.sendall(b"Subject: idle\r\n\r\n" + line * (size // len(line)) + b".\r\n")
        self.expect(250)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pid", type=int)
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rest", type=float, default=5)
    options = parser.parse_args()

    def session() -> Session:
        one = Session(options.port, options.tls)
        one.deliver(4 * 1024)
        one.deliver(1024 * 1024)
        return one

    # The first session pays for what all share.
    session().sock.close()
    time.sleep(options.rest)
    before = pss(options.pid)
    sessions = [session() for _ in range(options.sessions)]
    time.sleep(options.rest)
    after = pss(options.pid)
    alive = 0
    for one in sessions:
        one.say("NOOP", 250)
        alive += 1
    grown = (after - before) / options.sessions
    kind = "TLS" if options.tls else "plaintext"
    print(f"{kind}: {grown:.1f} KiB PSS per idle session, {alive} of {options.sessions} alive, base {before / 1024:.0f} MiB")


if __name__ == "__main__":
    main()

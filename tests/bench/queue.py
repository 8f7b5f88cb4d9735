#!/usr/bin/env python3
"""What a long queue costs.

    queue.py million [--entries 1000000]    entries that are deferred, beside those that come in
    queue.py dead [--entries 10000]         mail for a destination that is gone, beside mail for one that is not

Each needs a release build: HERMETIC_BIN, or target/release/hermetic. All is on loopback and in a temporary folder
(--folder puts it on another disk). A rate means something only on a quiet machine.

`million` prints how long it takes from the start of the server to the first delivery, its memory (PSS) then, and how fast
messages are accepted, beside the same with an empty queue. `dead` prints how long mail for a server that answers takes from
its 250 to its arrival there, at the median and at p99, without and with the mail for the one that does not.
"""
import argparse
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("HERMETIC_BIN", str(ROOT / "target/release/hermetic"))
HOUR = 3_600_000


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """A `hermetic serve` with a folder of its own."""

    def __init__(self, folder: pathlib.Path, more: str = ""):
        self.folder, self.port = folder, free_port()
        self.data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "hermetic.toml"
        self.config.write_text(
            f'name = "mx.example.test"\ndata = "{self.data}"\n'
            f'[[listener]]\nkind = "mx"\naddress = "127.0.0.1:{self.port}"\n'
            '[[domain]]\nname = "example.test"\nmailboxes = ["*"]\n'
            '[relay]\nnetworks = ["127.0.0.0/8"]\n[limits]\nsessions-per-client = 2000\n' + more
        )
        self.process = None

    def start(self) -> float:
        """Returns when it began."""
        began = time.monotonic()
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen([BINARY, "serve", "--config", self.config], stdout=log, stderr=log)
        while True:
            try:
                Session(self.port).quit()
                return began
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit((self.folder / "log").read_text()[-2000:])
                time.sleep(0.005)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def pss(self) -> float:
        """MiB."""
        rollup = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss: +(\d+)", rollup, re.M)[1]) / 1024


class Session:
    def __init__(self, port: int):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        self.expect(220)

    def expect(self, code: int) -> None:
        while True:
            line = self.file.readline()
            if not line:
                raise ConnectionError("closed")
            if line[3:4] != b"-":
                break
        if int(line[:3]) != code:
            raise RuntimeError(f"wanted {code}, got {line!r}")

    def say(self, line: str, code: int) -> None:
        self.sock.sendall(line.encode() + b"\r\n")
        self.expect(code)

    def deliver(self, to: str, subject: str = "x", size: int = 4096) -> None:
        body = (b"x" * 76 + b"\r\n") * (size // 78)
        self.sock.sendall(f"MAIL FROM:<a@example.test>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode())
        self.expect(250)
        self.expect(250)
        self.expect(354)
        self.sock.sendall(f"Subject: {subject}\r\n\r\n".encode() + body + b".\r\n")
        self.expect(250)

    def quit(self) -> None:
        self.sock.close()


def accepted(port: int, messages: int, clients: int = 8) -> float:
    """Messages a second that are answered by 250, held for later so that nothing is delivered meanwhile."""
    def work(n: int) -> None:
        session = Session(port)
        session.say("EHLO client.example.test", 250)
        for _ in range(n):
            session.deliver("b@held.test")
        session.quit()

    threads = [threading.Thread(target=work, args=(messages // clients,)) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return messages / (time.monotonic() - began)


def fill(database: pathlib.Path, entries: int) -> None:
    """Copies the one message that is there, each copy with an entry that was tried and is due in an hour or later."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    now = int(time.time() * 1000)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(message)")]
    other = ", ".join(column for column in columns if column not in ("key", "id"))
    key, = connection.execute("SELECT max(key) FROM message").fetchone()
    parts = [row[1] for row in connection.execute("PRAGMA table_info(entry)")]
    given = {"message": "m.key", "next_attempt": f"{now + HOUR} + (m.key % 7919) * 1000", "attempts": "3",
             "reason": "'4.4.1 nobody answers'"}
    values = ", ".join(given.get(part, f"e.{part}") for part in parts)
    with connection:
        connection.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {entries}) "
            f"INSERT INTO message (key, id, {other}) "
            # An id is 16 octets, and its key the front of it.
            f"SELECT {key} - ({entries + 1} - i) * 1024, randomblob(16), {other} FROM n, message WHERE key = {key}")
        connection.execute(
            f"INSERT INTO entry ({', '.join(parts)}) SELECT {values} FROM message m, entry e "
            f"WHERE e.message = {key} AND m.key <> {key}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def million(folder: pathlib.Path, entries: int) -> None:
    more = "[outbound]\nhold = true\n"
    messages = 4000
    empty = Server(folder / "empty", more)
    empty.start()
    accepted(empty.port, messages)
    rate = accepted(empty.port, messages)
    empty.stop()

    full = Server(folder / "full", more)
    full.start()
    session = Session(full.port)
    session.say("EHLO client.example.test", 250)
    session.deliver("b@later.test", size=512)
    session.quit()
    time.sleep(0.5)
    full.stop()
    database = full.data / "store/store.db"
    with sqlite3.connect(database) as connection:
        # What the configuration holds is released at each start; these are not to be.
        connection.execute("UPDATE entry SET state = 0, next_attempt = 0")
    connection.close()
    began = time.monotonic()
    fill(database, entries)
    print(f"{entries} deferred entries made in {time.monotonic() - began:.1f} s, {database.stat().st_size >> 20} MiB")

    began = full.start()
    answered = time.monotonic() - began
    session = Session(full.port)
    session.say("EHLO client.example.test", 250)
    session.deliver("first@example.test")
    new = full.data / "mail/example.test/first/new"
    while not (new.is_dir() and any(new.iterdir())):
        time.sleep(0.002)
    print(f"start to first 220:      {answered:8.2f} s")
    print(f"start to first delivery: {time.monotonic() - began:8.2f} s   (wanted: under 5)")
    print(f"memory:                  {full.pss():8.0f} MiB (wanted: under 300)")
    accepted(full.port, messages)
    beside = accepted(full.port, messages)
    print(f"accepted, queue empty:   {rate:8.0f} messages a second")
    print(f"accepted, queue full:    {beside:8.0f} messages a second, {100 * (beside / rate - 1):+.0f}% (wanted: -20% at most)")
    print(f"memory after that:       {full.pss():8.0f} MiB")
    full.stop()


class Sink(threading.Thread):
    """A server that takes everything and notes when each subject came."""

    def __init__(self):
        super().__init__(daemon=True)
        self.arrived = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.listener.getsockname()[1]

    def run(self) -> None:
        while True:
            peer, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as lines:
            peer.sendall(b"220 sink.test ESMTP\r\n")
            for line in lines:
                verb = line[:4].upper()
                if verb == b"DATA":
                    peer.sendall(b"354 go\r\n")
                    for content in lines:
                        if content.startswith(b"Subject: "):
                            self.arrived[content[9:].strip().decode()] = time.monotonic()
                        if content == b".\r\n":
                            break
                    peer.sendall(b"250 ok\r\n")
                elif verb == b"QUIT":
                    peer.sendall(b"221 bye\r\n")
                    return
                else:
                    peer.sendall(b"250 ok\r\n")


def delays(server: Server, sink: Sink, name: str, messages: int) -> list:
    """From the 250 to the arrival, in milliseconds, one message each 10 ms."""
    session = Session(server.port)
    session.say("EHLO client.example.test", 250)
    sent = {}
    for n in range(messages):
        subject = f"{name}-{n}"
        session.deliver("b@live.test", subject)
        sent[subject] = time.monotonic()
        time.sleep(0.01)
    end = time.monotonic() + 60
    while not all(subject in sink.arrived for subject in sent) and time.monotonic() < end:
        time.sleep(0.05)
    session.quit()
    return sorted(1000 * (sink.arrived.get(subject, end) - at) for subject, at in sent.items())


def dead(folder: pathlib.Path, entries: int) -> None:
    sink = Sink()
    sink.start()
    gone = free_port()
    server = Server(folder / "dead", (
        '[outbound]\nconnect-timeout = 5\n'
        f'[[destination]]\ndomains = ["live.test"]\nhosts = ["127.0.0.1:{sink.port}"]\n'
        f'[[destination]]\ndomains = ["gone.test"]\nhosts = ["127.0.0.1:{gone}"]\n'
    ))
    server.start()
    messages = 2000
    delays(server, sink, "warm", 200)
    alone = delays(server, sink, "alone", messages)
    began = time.monotonic()
    rate = 0.0

    def burst(n: int) -> None:
        session = Session(server.port)
        session.say("EHLO client.example.test", 250)
        for _ in range(n):
            session.deliver("b@gone.test")
        session.quit()

    threads = [threading.Thread(target=burst, args=(entries // 8,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = entries / (time.monotonic() - began)
    beside = delays(server, sink, "beside", messages)
    server.stop()
    print(f"{entries} messages for a destination that is gone, accepted at {rate:.0f} a second")
    for name, share, most in [("median", 0.5, 5), ("p99", 0.99, 10)]:
        one, other = alone[int(messages * share)], beside[int(messages * share)]
        print(f"{name:8} {one:8.1f} ms alone, {other:8.1f} ms beside them, {100 * (other / one - 1):+.0f}% (wanted: +{most}% at most)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["million", "dead"])
    parser.add_argument("--entries", type=int)
    parser.add_argument("--folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hermetic-queue-", dir=given.folder) as folder:
        if given.what == "million":
            million(pathlib.Path(folder), given.entries or 1_000_000)
        else:
            dead(pathlib.Path(folder), given.entries or 10_000)


if __name__ == "__main__":
    main()

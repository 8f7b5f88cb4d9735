"""Measures the Python server beside aiosmtpd in one run, and what a session costs.

    python bench/bench.py                 M1 and M2 beside aiosmtpd, with Postfix's smtp-source
    python bench/bench.py --sessions      time and memory of 1,000 sessions
    python bench/bench.py --calls         time of one call, by the ways there are

M1: one message of 4 KiB a connection; M2: many a connection. Rounds of both peers alternate. Processor time is the server's.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = ("hermetic", "aiosmtpd")
TICKS = 100


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def processor_time(pid: int) -> float:
    """Seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def load(port: int, seconds: float, many: bool, messages: int) -> tuple[int, float]:
    """Sends so many messages, by 50 clients at a time; how many, and the seconds it took."""
    arguments = ["smtp-source", "-s", "50", "-m", str(messages), "-l", "4096", "-f", "a@bench.test", "-t", "b@bench.test"]
    begin = time.monotonic()
    subprocess.run([*arguments, *(["-d"] if many else []), f"inet:127.0.0.1:{port}"], check=True, timeout=120 + seconds, capture_output=True)
    return messages, time.monotonic() - begin


class Peer:
    """One server, running."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen([sys.executable, str(HERE / "sink.py"), name, str(self.port)])
        end = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as one:
                    one.recv(100)
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise SystemExit(f"{name} did not start") from None
                time.sleep(0.1)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def compare(rounds: int, seconds: float) -> None:
    if not shutil.which("smtp-source"):
        raise SystemExit("smtp-source is missing; it comes with Postfix: tests/clients/install.sh")
    peers = {name: Peer(name) for name in PEERS}
    try:
        for measure in ("M1", "M2"):
            many = measure == "M2"
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in PEERS}
            for round_ in range(rounds + 1):
                for name, peer in peers.items():
                    # The first round warms up, and says how many messages are so many seconds.
                    rate = found[name][-1][0] if found[name] else 500.0
                    before = processor_time(peer.process.pid)
                    count, took = load(peer.port, seconds, many, max(200, int(rate * seconds)))
                    used = processor_time(peer.process.pid) - before
                    if round_ == 1:
                        found[name].clear()
                    found[name].append((count / took, used / count * 1000))
            rates = {name: statistics.median(rate for rate, _ in rows) for name, rows in found.items()}
            costs = {name: statistics.median(cost for _, cost in rows) for name, rows in found.items()}
            for name, rows in found.items():
                low, high = min(rate for rate, _ in rows), max(rate for rate, _ in rows)
                print(f"{measure} {name:9} {rates[name]:7.0f} msg/s ({low:.0f}-{high:.0f})  {costs[name]:.3f} ms CPU a message")
            print(f"{measure} ratio {rates['hermetic'] / rates['aiosmtpd']:.2f} msg/s, {costs['hermetic'] / costs['aiosmtpd']:.2f} CPU", flush=True)
    finally:
        for peer in peers.values():
            peer.close()


def resident() -> int:
    """KiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def sessions(count: int) -> None:
    from hermetic_smtp import SERVER_LIMITS, ServerSession, values
    from hermetic_smtp.instance import Prepared, default

    every = values.Questions(0)
    for flag in values.Questions:
        every |= flag
    begin = time.perf_counter()
    default()
    print(f"the engine, compiled or from the cache: {(time.perf_counter() - begin) * 1000:.0f} ms")
    options = Prepared(
        "server",
        values.ServerOptions(values.Protocol.SMTP, "bench", SERVER_LIMITS, False, False, False, (), (), False, (), False, False, False, False, every),
    )
    ServerSession(options).close()
    before, begin = resident(), time.process_time()
    kept = [ServerSession(options) for _ in range(count)]
    made = time.process_time() - begin
    for session in kept:
        session.start(0)
        session.receive(1, b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n" + b"x" * 70 + b"\r\n.\r\n")
    print(f"{count} sessions, each after a message: {(resident() - before) / count:.1f} KiB resident each")
    begin = time.process_time()
    for session in kept:
        session.close()
    print(f"made in {made / count * 1e6:.0f} us each, closed in {(time.process_time() - begin) / count * 1e6:.0f} us")


def calls(count: int) -> None:
    import wasmtime

    from hermetic_smtp import SERVER_LIMITS, ServerSession, values

    every = values.Questions(0)
    for flag in values.Questions:
        every |= flag
    options = values.ServerOptions(values.Protocol.SMTP, "bench", SERVER_LIMITS, False, False, False, (), (), False, (), False, False, False, False, every)
    session = ServerSession(options)
    session.start(0)
    limited = b"x" * 70 + b"\r\n"

    def timed(what: str, work: object, times: int) -> None:
        begin = time.process_time()
        for _ in range(times):
            work()  # type: ignore[operator]
        print(f"{what}: {(time.process_time() - begin) / times * 1e6:.1f} us")

    session.receive(1, b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
    timed("receive, nothing", lambda: session.receive(1, b""), count)
    timed("receive, 4 KiB of content", lambda: session.receive(1, limited * 57), min(count, 10_000))
    instance = session._instance
    run, function = instance._run, instance._function(b"cabi_realloc")
    timed("one core call by wasmtime_func_call_unchecked", lambda: run(function, 0, 0, 1, 0), count)
    known = wasmtime.Func._from_raw(instance._exports[b"cabi_realloc"][1].of.func)
    timed("the same by wasmtime.Func.__call__", lambda: known(instance._store, 0, 0, 1, 0), count // 20)
    session.close()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--seconds", type=float, default=2.0)
    words.add_argument("--sessions", action="store_true")
    words.add_argument("--calls", action="store_true")
    said = words.parse_args()
    if said.sessions:
        sessions(1000)
    elif said.calls:
        calls(20_000)
    else:
        compare(said.rounds, said.seconds)


if __name__ == "__main__":
    main()

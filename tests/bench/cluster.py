#!/usr/bin/env python3
"""What it costs that a message is on three machines: messages a second that are accepted, by one server with SQLite and by two
nodes on three NATS servers, taking turns on this machine.

    cluster.py [--rounds 5] [--messages 3000] [--clients 50]

Nothing is delivered (`queue.hold`), so that 250 alone is measured: with SQLite the message is on this disk, in the cluster on those of
two NATS servers of three, each of which syncs. All of it shares one machine and one disk here. It needs a release build (HERMETIC_BIN, or
target/release/hermetic), nats-server (tests/clients/nats.sh) and Postfix's smtp-source. A rate means something only on a
quiet machine.
"""
import argparse
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("HERMETIC_BIN", str(ROOT / "target/release/hermetic"))
NATS = os.environ.get("NATS_SERVER") or shutil.which("nats-server") or str(ROOT / "target/clients/nats/bin/nats-server")
SOURCE = shutil.which("smtp-source") or "/usr/sbin/smtp-source"


def free_ports(n: int) -> list:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def until(there, what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise SystemExit(f"cluster.py: {what}: nothing within {seconds} s")
        time.sleep(0.05)


def answers(port: int, question: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as sock:
            sock.settimeout(2)
            sock.sendall(question)
            return sock.recv(4096).startswith(expected)
    except OSError:
        return False


class Processes:
    """Whatever was started; it ends with this."""

    def __init__(self):
        self.all = []

    def start(self, log: pathlib.Path, *command) -> subprocess.Popen:
        process = subprocess.Popen(command, stdout=open(log, "ab"), stderr=subprocess.STDOUT)
        self.all.append(process)
        return process

    def cpu(self) -> float:
        """Seconds of processor time that they have had."""
        ticks = 0
        for process in self.all:
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        for process in self.all:
            process.send_signal(signal.SIGTERM)
        for process in self.all:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def hermetic(processes: Processes, folder: pathlib.Path, store: str) -> int:
    folder.mkdir()
    port = free_ports(1)[0]
    config = folder / "hermetic.toml"
    config.write_text(
        f'name = "mx.example.test"\ndata = "{folder}/data"\n'
        f'[[listener]]\nkind = "mx"\naddress = "127.0.0.1:{port}"\n'
        '[[domain]]\nname = "example.test"\nmailboxes = ["*"]\n[outbound]\nhold = true\n[queue]\nhold = true\n'
        '[limits]\nsessions = 5000\nsessions-per-client = 5000\nidle-commands = 100000\n[observe]\nlevel = "warn"\n' + store
    )
    processes.start(folder / "log", BINARY, "serve", "--config", config)
    until(lambda: answers(port, b"", b"220"), f"hermetic ({folder}/log)")
    return port


def nats(processes: Processes, folder: pathlib.Path) -> str:
    """The lines of `[store]` for these servers."""
    ports = free_ports(9)
    clients, monitors, routes = ports[:3], ports[3:6], ports[6:]
    all_routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    for n in range(3):
        config = folder / f"nats{n}.conf"
        config.write_text(
            f'server_name: n{n}\nlisten: "127.0.0.1:{clients[n]}"\nhttp: "127.0.0.1:{monitors[n]}"\n'
            f'jetstream {{ store_dir: "{folder}/nats{n}", sync_interval: always }}\n'
            f'cluster {{ name: bench, listen: "127.0.0.1:{routes[n]}", routes: [{all_routes}] }}\n'
        )
        processes.start(folder / f"nats{n}.log", NATS, "-c", config)
    for port in monitors:
        until(lambda: answers(port, b"GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.0 200"), f"nats-server ({folder})")
    servers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in clients)
    monitor = ", ".join(f'"http://127.0.0.1:{port}"' for port in monitors)
    return f'[store]\nkind = "jetstream"\nmaildirs = "shared"\nservers = [{servers}]\nmonitor = [{monitor}]\n'


def send(ports: list, messages: int, clients: int) -> float:
    """Messages a second, over all of these."""
    each, many = messages // len(ports), max(1, clients // len(ports))
    began = time.monotonic()
    sources = [
        subprocess.Popen(
            [SOURCE, "-d", "-s", str(many), "-m", str(each), "-l", "4096", "-f", "a@client.example.org", "-t", "b@example.test", f"inet:127.0.0.1:{port}"]
        )
        for port in ports
    ]
    codes = [source.wait() for source in sources]
    if any(codes):
        raise SystemExit(f"cluster.py: smtp-source ended with {codes}")
    return each * len(ports) / (time.monotonic() - began)


def shown(figures: list) -> str:
    return f"{statistics.median(figures):,.0f} ({min(figures):,.0f}–{max(figures):,.0f})"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--messages", type=int, default=3000)
    arguments.add_argument("--clients", type=int, default=50)
    arguments.add_argument("--folder", help="on the disk that is to be measured")
    wanted = arguments.parse_args()
    rates, cpu = {}, {}
    with tempfile.TemporaryDirectory(prefix="hermetic-bench-", dir=wanted.folder) as folder:
        folder = pathlib.Path(folder)
        alone, cluster = Processes(), Processes()
        try:
            single = hermetic(alone, folder / "single", "")
            store = nats(cluster, folder)
            nodes = [hermetic(cluster, folder / name, f'{store}node = "{name}"\n') for name in ("a", "b")]
            peers = {"SQLite, one server": (alone, [single]), "JetStream, two nodes": (cluster, nodes), "JetStream, one of them": (cluster, nodes[:1])}
            for ports in ([single], nodes):
                send(ports, max(200, wanted.messages // 10), wanted.clients)
            for number in range(wanted.rounds):
                for name, (processes, ports) in peers.items():
                    before = processes.cpu()
                    rate = send(ports, wanted.messages, wanted.clients)
                    rates.setdefault(name, []).append(rate)
                    cpu.setdefault(name, []).append((processes.cpu() - before) * 1000 / wanted.messages)
                    print(f"round {number + 1}: {name}: {rate:,.0f} messages a second", flush=True)
        finally:
            cluster.end()
            alone.end()
    base = statistics.median(rates["SQLite, one server"])
    print(f"\nMessages of 4 KiB, {wanted.clients} clients; medians of {wanted.rounds} rounds, and the range.\n")
    print("| | accepted, msg/s | of SQLite's | CPU, s per 1,000 |\n| --- | --- | --- | --- |")
    for name, figures in rates.items():
        print(f"| {name} | {shown(figures)} | {statistics.median(figures) / base:.2f} | {statistics.median(cpu[name]):.2f} |")


if __name__ == "__main__":
    main()

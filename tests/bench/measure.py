#!/usr/bin/env python3
"""The benchmark harness of FOLDER with one more rule: a peer that has a Maildir is drained when all its mail is in there.

measure.py FOLDER [arguments of bench.py]

The harness waits for the files of a queue folder to go away; Hermetic's queue is a database. So what was sent is counted
before each load, and draining means that the Maildir holds it.

A peer whose name ends in -relay sends its mail on to a sink (Postfix's smtp-sink), whose port is in SINK. The sink is no part of
the peer: what it needs of the processor counts for neither, and what it has counts as delivered.
"""
import importlib.util, os, re, socket, subprocess, sys, time

folder = os.path.abspath(sys.argv.pop(1))
spec = importlib.util.spec_from_file_location("bench", os.path.join(folder, "bench.py"))
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

send = bench.client


def client(server, measure, n):
    each = bench.RCPTS if measure == "M4" else 1
    server.expected = server.delivered() + (n * each if measure != "M5" else 0)
    return send(server, measure, n)


class Sink:
    """A smtp-sink that counts; it writes its count to a file after each message."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.counts = open(folder + "/sink.counts", "w+b", buffering=0)
        self.process = subprocess.Popen(["smtp-sink", "-u", "nobody", "-c", f"inet:127.0.0.1:{self.port}", "1000"], stdout=self.counts)

    def messages(self):
        size = os.fstat(self.counts.fileno()).st_size
        last = os.pread(self.counts.fileno(), 400, max(0, size - 400))
        found = re.findall(rb"mesg=(\d+)[^0-9]", last)
        return int(found[-1]) if found else 0

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.counts.close()


class Server(bench.Server):
    expected = 0
    sink = None

    def __init__(self, name, *more):
        if name.endswith("-relay"):
            self.sink = Sink(folder)
            os.environ["SINK"] = str(self.sink.port)
        try:
            super().__init__(name, *more)
        except BaseException:
            if self.sink:
                self.sink.stop()
            raise

    def delivered(self):
        return self.sink.messages() if self.sink else super().delivered()

    def stop(self):
        super().stop()
        if self.sink:
            self.sink.stop()

    def drain(self, limit=120):
        end = time.monotonic() + limit
        super().drain(limit)
        while self.mail and self.delivered() < self.expected:
            if time.monotonic() > end:
                raise RuntimeError(f"{self.delivered()} of {self.expected} mails in the Maildir after {limit} s")
            time.sleep(0.02)


bench.client, bench.Server = client, Server
sys.argv[0] = os.path.join(folder, "bench.py")
if sys.argv[1:2] == ["--report"]:
    import json
    files = [json.load(open(f)) for f in sys.argv[2:]]
    files[0]["runs"] = [r for f in files for r in f["runs"]]
    bench.report(files[0], os.environ.get("BASE", "postfix-hold"))
else:
    bench.main()

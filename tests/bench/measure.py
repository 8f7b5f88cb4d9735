#!/usr/bin/env python3
"""The benchmark harness of FOLDER with one more rule: a peer that has a Maildir is drained when all its mail is in there.

measure.py FOLDER [arguments of bench.py]

The harness waits for the files of a queue folder to go away; Hermetic's queue is a database. So what was sent is counted
before each load, and draining means that the Maildir holds it.
"""
import importlib.util, os, sys, time

folder = os.path.abspath(sys.argv.pop(1))
spec = importlib.util.spec_from_file_location("bench", os.path.join(folder, "bench.py"))
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

send = bench.client


def client(server, measure, n):
    each = bench.RCPTS if measure == "M4" else 1
    server.expected = server.delivered() + (n * each if measure != "M5" else 0)
    return send(server, measure, n)


class Server(bench.Server):
    expected = 0

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

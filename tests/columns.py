#!/usr/bin/env python3
"""Prints what each runtime has run of the transcripts and of the sessions recorded under load, as one table.

    columns.py FOLDER

FOLDER is the one that HERMETIC_COLUMNS named while the tests ran; each of them leaves a file there when all of its sessions had the
same outcome (`tests/src/columns.rs` has its form). Ends with 1 where a runtime said nothing, or did neither run nor leave out
some of what the native core runs.
"""

import json
import sys
from pathlib import Path

COLUMNS = ["native core", "component", "Node", "Python", "browser", "standalone"]
# Built and run by a command of its own, which takes long; it is a server, and can not run a file.
APART = {"standalone": "core/standalone/test.sh"}


def main() -> int:
    said = {}
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        line = json.loads(path.read_text())
        said[line["column"], line["kind"]] = line
    wanted = {kind: said.get((COLUMNS[0], kind), {"run": 0})["run"] for kind in ("transcripts", "load")}
    print(f"{'':12} {'transcripts':>11} {'skipped':>8} {'under load':>10}")
    faults = [f"no {kind} were run by the {COLUMNS[0]}" for kind, run in wanted.items() if not run]
    for column in COLUMNS:
        transcripts, load = said.get((column, "transcripts")), said.get((column, "load"))
        if transcripts is None and column in APART:
            print(f"{column:12} {APART[column]}")
            continue
        skipped = (transcripts or {}).get("skipped", {})
        run = [one["run"] if one else 0 for one in (transcripts, load)]
        why = ", ".join(f"{n} need {what}" for what, n in sorted(skipped.items()))
        under = "-" if column in APART else run[1]
        print(f"{column:12} {run[0]:>11} {sum(skipped.values()):>8} {under:>10}  {why}".rstrip())
        if run[0] + sum(skipped.values()) != wanted["transcripts"]:
            faults.append(f"{column}: {run[0]} run and {sum(skipped.values())} skipped are not all {wanted['transcripts']} transcripts")
        if column not in APART and run[1] != wanted["load"]:
            faults.append(f"{column}: {run[1]} of {wanted['load']} sessions recorded under load")
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main())

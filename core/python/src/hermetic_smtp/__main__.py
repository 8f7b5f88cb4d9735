"""The command line: `python -m hermetic_smtp replay FILE...`.

Owns arguments, what is printed, and the exit code: 0 all equal, 1 some differ, 64 wrong arguments, 65 a file that cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hermetic_smtp.errors import FileError
from hermetic_smtp.replay import replay

USAGE = """usage: python -m hermetic_smtp replay FILE...

Runs recorded sessions (.session files) again and shows the first difference of each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    if len(words) < 2 or words[0] != "replay":
        print(USAGE, file=sys.stderr)
        return 64
    replayed = differ = unreadable = 0
    for name in words[1:]:
        try:
            found = replay(name)
        except FileError as error:
            print(error, file=sys.stderr)
            unreadable += 1
            continue
        replayed += 1
        if found.note:
            print(f"{name}: {found.note}")
        if found.difference:
            differ += 1
            print(found.difference)
    print(f"{replayed} replayed, {differ} differ")
    return 65 if unreadable else 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs built examples of the filter `tag` against a small host: check.py FILE... (needs wasmtime of PyPI).

It links what the filter's world names and nothing else: a component that imports more does not start.
"""

import re
import sys
import time
from pathlib import Path

from wasmtime import Config, Engine, Store, component

SCENARIOS = [
    # the setting `word`, the subjects, whether the message is refused
    ("offer", ["An OFFER for you"], True),
    ("offer", ["Dinner", "one more offer"], True),
    ("offer", ["Grüße"], False),
    ("offer", [], False),
    (None, ["An offer"], False),
]


def judge(engine, built, word, subjects):
    """The verdict, and the fields that were put above."""
    prepended = []

    def prepend(_store, name, value):
        prepended.append((name, value))
        return len(prepended)

    functions = {
        "header": {"text": lambda _store, name: subjects if name.lower() == "subject" else []},
        "config": {"get": lambda _store, key: word if key == "word" else None},
        "edit": {"prepend": prepend},
        "log": {"warn": lambda _store, text: print("  warn:", text)},
    }
    linker = component.Linker(engine)
    # What the language's tools import without the filter ever calling it traps if it is called.
    linker.allow_shadowing = True
    linker.define_unknown_imports_as_traps(built)
    with linker.root() as root:
        for interface, members in functions.items():
            with root.add_instance(f"hermetic:plugin/{interface}@0.1.0") as instance:
                for name, function in members.items():
                    instance.add_func(name, function)
    store = Store(engine)
    instance = linker.instantiate(store, built)
    hook = instance.get_export_index(store, "hermetic:plugin/on-recipient-message@0.1.0")
    function = instance.get_func(store, instance.get_export_index(store, "judge", hook))
    start = time.perf_counter()
    verdict = function(store)
    function.post_return(store)
    return verdict, prepended, time.perf_counter() - start


def main(files):
    failed = 0
    for file in files:
        language = re.fullmatch(r"tag-(\w+)\.wasm", Path(file).name)[1]
        engine = Engine(Config())
        built = component.Component(engine, Path(file).read_bytes())
        slowest = 0.0
        for word, subjects, refused in SCENARIOS:
            verdict, prepended, seconds = judge(engine, built, word, subjects)
            slowest = max(slowest, seconds)
            if refused:
                reason = verdict.payload
                seen = (verdict.tag, reason.subject, reason.detail, reason.text, prepended)
                expected = ("reject", 7, 1, f"no {word}, please", [])
            else:
                seen = (verdict.tag, prepended)
                expected = ("proceed", [("X-Hermetic-Tag", language)])
            if seen != expected:
                failed += 1
                print(f"{file}: word {word!r}, subjects {subjects!r}:\n  saw      {seen}\n  expected {expected}")
        print(f"{language}: {len(SCENARIOS)} scenarios, slowest call {slowest * 1e3:.2f} ms")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Runs built examples of the filter `tag` against a small host: check.py FILE... (needs wasmtime of PyPI).

It links what the filter's world names and nothing else: a component that imports more does not start.
"""

import re
import sys
import time
from pathlib import Path

from wasmtime import Config, Engine, Store, Trap, WasmtimeError, component

SCENARIOS = [
    # the settings, the subjects, the verdict
    ({"word": "offer"}, ["An OFFER for you"], "reject"),
    ({"word": "offer"}, ["Dinner", "one more offer"], "reject"),
    ({"word": "offer", "verdict": "reject"}, ["offer"], "reject"),
    ({"word": "offer", "verdict": "defer"}, ["offer"], "defer"),
    ({"word": "offer", "verdict": "discard"}, ["offer"], "discard"),
    ({"word": "offer", "verdict": "accept"}, ["offer"], "accept"),
    ({"word": "offer", "verdict": "odd"}, ["offer"], "trap"),
    ({"word": "offer", "verdict": "odd"}, ["Dinner"], "proceed"),
    ({"word": "offer"}, ["Grüße"], "proceed"),
    ({"word": "offer"}, [], "proceed"),
    ({"word": ""}, ["An offer"], "proceed"),
    ({}, ["An offer"], "proceed"),
]


def judge(engine, built, settings, subjects):
    """The verdict, and the fields that were put above."""
    prepended = []

    def prepend(_store, name, value):
        prepended.append((name, value))
        return len(prepended)

    functions = {
        "header": {"text": lambda _store, name: subjects if name.lower() == "subject" else []},
        "config": {"get": lambda _store, key: settings.get(key)},
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
        for settings, subjects, wanted in SCENARIOS:
            try:
                verdict, prepended, seconds = judge(engine, built, settings, subjects)
            except (Trap, WasmtimeError):
                seen = ("trap", None, [])
            else:
                slowest = max(slowest, seconds)
                reason = verdict.payload and (verdict.payload.subject, verdict.payload.detail, verdict.payload.text)
                seen = (verdict.tag, reason, prepended)
            reason = (7, 1, f"no {settings['word']}, please") if wanted in ("reject", "defer") else None
            expected = (wanted, reason, [("X-Hermetic-Tag", language)] if wanted == "proceed" else [])
            if seen != expected:
                failed += 1
                print(f"{file}: {settings}, subjects {subjects}:\n  saw      {seen}\n  expected {expected}")
        print(f"{language}: {len(SCENARIOS)} scenarios, slowest call {slowest * 1e3:.2f} ms")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

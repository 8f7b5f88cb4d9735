"""Puts the engine into the package when a wheel, an sdist or an editable install is made.

The component is the file that HERMETIC_ENGINE names, else `core/out/engine.wasm` of the repository; from a source distribution
the engine is taken that lies in it. It fails with what to type.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EngineHook(BuildHookInterface):
    """Runs before files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        self._licences(root, build_data)
        target = root / "src" / "hermetic_smtp" / "engine.wasm"
        named = os.environ.get("HERMETIC_ENGINE")
        component = Path(named) if named else root.parent / "out" / "engine.wasm"
        if not component.is_file():
            if not named and (root / "PKG-INFO").is_file() and target.is_file():
                return
            raise SystemExit(
                f"{component} is not there. Build the engine first, `cargo run -p engine-wasm -- core/out` "
                "in the repository, or name one with HERMETIC_ENGINE."
            )
        spec = importlib.util.spec_from_file_location("extract", root / "extract.py")
        assert spec and spec.loader
        extract = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(extract)
        try:
            core = extract.extract(component.read_bytes())
        except extract.NoEngine as error:
            raise SystemExit(f"{component}: {error}") from None
        if not target.is_file() or target.read_bytes() != core:
            target.write_bytes(core)

    def _licences(self, root: Path, build_data: dict[str, Any]) -> None:
        """The licences lie in the root of the repository, or beside this file in a source distribution."""
        for name in ("LICENSE-MIT", "LICENSE-APACHE"):
            for folder in (root, root.parent.parent):
                if (folder / name).is_file():
                    place = name if self.target_name == "sdist" else f"hermetic_smtp/{name}"
                    build_data["force_include"][str(folder / name)] = place
                    break

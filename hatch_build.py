"""The wheel of a checkout with a compiled core has the extensions, and says for which Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledCore(BuildHookInterface[Any]):
    """Finds what `tools.compiled` made. Without any the wheel is the pure one, as everywhere."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the extensions, which are in no repository, and the wheel's tag."""
        root = Path(self.root)
        extensions = [*root.glob("*.so"), *(root / "timeball_server" / "core").rglob("*.so")]
        if extensions:
            names = [path.relative_to(root).as_posix() for path in extensions]
            build_data["force_include"].update({str(root / name): name for name in names})
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

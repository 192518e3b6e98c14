"""Argo CD's view of an object: our health script, run as Argo CD runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lupa import lua51

from pantograph.api.kstatus import Verdict

CHECKOUT = Path(__file__).parents[2]
SCRIPT = (CHECKOUT / "hack/argocd/health.lua").read_text()

ARGO_OF = {
    Verdict.CURRENT: "Healthy",
    Verdict.IN_PROGRESS: "Progressing",
    Verdict.FAILED: "Degraded",
}

Body = dict[str, Any]


def _compile() -> Callable[[Body], Body]:
    # Argo CD runs Lua 5.1, without the libraries that reach the machine.
    runtime = lua51.LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    script = runtime.eval(f"function(object) obj = object\n{SCRIPT}\nend")

    def run(body: Body) -> Body:
        return dict(script(runtime.table_from(body, recursive=True)))

    return run


run_lua = _compile()


def health(body: Body) -> str:
    """What Argo CD shows: it looks at deletion before it asks the script."""
    if body["metadata"].get("deletionTimestamp"):
        return "Progressing"
    result: str = run_lua(body)["status"]
    return result

"""`pantograph crds`: writes the CRDs and the chart's copies of them from the models, or says which are stale."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from pantograph.api import crd, kinds

CHART = Path("charts/pantograph")


def configure(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--output", type=Path, default=Path("crds"), metavar="DIR", help="where the CRDs go (crds)")
    parser.add_argument(
        "--chart",
        type=Path,
        metavar="DIR",
        help=f"the chart whose templates/crds are written as well ({CHART} in a checkout)",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale, and name it")


def run(arguments: Namespace) -> int:
    """The exit code: 1 if `--check` found a stale file, or the API server would refuse a model."""
    chart = arguments.chart or (CHART if Path("operator/pantograph").is_dir() else None)
    try:
        wanted = _wanted(arguments.output, chart)
    except crd.SchemaError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    orphans = _orphans(wanted)
    if arguments.check:
        for path in [*stale, *orphans]:
            print(f"{path} is stale: run `pantograph crds` and commit the result", file=sys.stderr)
        return 1 if stale or orphans else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        print(f"wrote {path}")
    for path in orphans:
        path.unlink()
        print(f"removed {path}: no kind makes it")
    return 0


def _wanted(output: Path, chart: Path | None) -> dict[Path, str]:
    files = {output / crd.file_name(kind): crd.manifest(kind) for kind in kinds.ALL}
    if chart is not None:
        folder = chart / "templates" / "crds"
        files |= {folder / crd.file_name(kind): crd.chart_template(kind) for kind in kinds.ALL}
    return files


def _orphans(wanted: dict[Path, str]) -> list[Path]:
    """Files of ours in the same folders that no kind makes any more."""
    folders = sorted({path.parent for path in wanted})
    present = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    return [path for path in present if path not in wanted and path.read_text().startswith(crd.HEADER)]

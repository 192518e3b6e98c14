"""Runs the tiers of tests in order and says at the end what passed, what failed, and what this machine cannot run.

A tier that cannot start still counts as a failure, and a tier without tests is said to have none. A test that the
machine cannot run is one that it skipped: the reason given says what is missing. With REQUIRE_ALL=1 it is a failure,
with REQUIRE_NODE=1 if it is one of the tier that needs a real node.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hack.controlplane.process import die_with_parent

CHECKOUT = Path(__file__).parents[1]
NODE_TIER = "e2e"
TIERS = ("unit", "contract", "simulation", "chart", "cluster", NODE_TIER)
"""In the order in which a fault is found soonest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one tier."""

    tier: str
    passed: int = 0
    failed: int = 0
    unable: Counter[str] = field(default_factory=Counter)
    """Reason → how many tests it kept from running."""
    seconds: float = 0.0

    def __str__(self) -> str:
        if not self.passed + self.failed + self.unable.total():
            return f"{self.tier:<12} no tests yet"
        unable = f", {self.unable.total()} cannot run here" if self.unable else ""
        return f"{self.tier:<12} {self.passed} passed, {self.failed} failed{unable} in {self.seconds:.1f} s"


def run_tier(tier: str, *, reports: Path) -> Outcome:
    """Run the tests below tests/<tier>."""
    if not any((CHECKOUT / "tests" / tier).glob("**/test_*.py")):
        return Outcome(tier)
    report = reports / f"{tier}.xml"
    began = time.monotonic()
    runner = ("hack.e2e",) if tier == NODE_TIER else ("pytest", f"tests/{tier}")
    done = subprocess.run(
        [sys.executable, "-m", *runner, "-q", f"--junit-xml={report}"],
        cwd=CHECKOUT,
        check=False,
        preexec_fn=die_with_parent,
    )
    seconds = time.monotonic() - began
    outcome = read_report(report, tier=tier, seconds=seconds) if report.exists() else Outcome(tier, seconds=seconds)
    if done.returncode != 0 and outcome.failed == 0:
        # Ended before it could report: by a usage error, a crash, or files of tests in which it found none.
        return Outcome(tier, outcome.passed, 1, outcome.unable, seconds)
    return outcome


def read_report(report: Path, *, tier: str, seconds: float) -> Outcome:
    """Count the results in a JUnit report as pytest writes it: a test with an error, in set-up or after, has failed."""
    cases: dict[tuple[str, str], str] = {}
    unable: Counter[str] = Counter()
    for case in ET.parse(report).getroot().iter("testcase"):
        name = (case.get("classname", ""), case.get("name", ""))
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            cases[name] = "failed"
        elif skipped is not None:
            cases.setdefault(name, "unable")
            unable[skipped.get("message") or "no reason given"] += 1
        else:
            cases.setdefault(name, "passed")
    results = Counter(cases.values())
    return Outcome(tier, results["passed"], results["failed"], unable, seconds)


def summarize(outcomes: list[Outcome], *, require_all: bool, require_node: bool = False) -> tuple[list[str], int]:
    """The closing lines and the exit status; the last line is `N passed, N failed`."""
    lines = [str(outcome) for outcome in outcomes]
    unable = sum((outcome.unable for outcome in outcomes), Counter[str]())
    if unable:
        lines += ["", "this machine could not run:"]
        lines += [f"  {count} test{'s' if count > 1 else ''}: {reason}" for reason, count in unable.items()]
    failed = sum(outcome.failed for outcome in outcomes)
    without_node = sum(outcome.unable.total() for outcome in outcomes if outcome.tier == NODE_TIER)
    if require_all and unable:
        lines.append("which counts as failed, because REQUIRE_ALL is set")
        failed += unable.total()
    elif require_node and without_node:
        lines.append(f"of which {without_node} of the tier {NODE_TIER} count as failed, because REQUIRE_NODE is set")
        failed += without_node
    lines += ["", f"{sum(outcome.passed for outcome in outcomes)} passed, {failed} failed"]
    return lines, 1 if failed else 0


def main(tiers: list[str]) -> int:
    """Run the named tiers, or all; the exit status is 1 if anything failed, 2 if a name is no tier's."""
    if unknown := [tier for tier in tiers if tier not in TIERS]:
        print(f"no such tier of tests: {', '.join(unknown)}; there are: {', '.join(TIERS)}", file=sys.stderr)
        return 2
    outcomes = []
    with tempfile.TemporaryDirectory() as reports:
        for tier in tiers or TIERS:
            print(f"\n=== {tier}", flush=True)
            outcomes.append(run_tier(tier, reports=Path(reports)))
            print(f"=== {outcomes[-1]}", flush=True)
    print("\n=== summary")
    lines, status = summarize(
        outcomes,
        require_all=os.environ.get("REQUIRE_ALL") == "1",
        require_node=os.environ.get("REQUIRE_NODE") == "1",
    )
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

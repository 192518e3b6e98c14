"""The verdict over the tiers: nothing that failed or could not run goes by unsaid."""

from collections import Counter
from pathlib import Path

import pytest

from hack import test as runner
from hack.test import Outcome, read_report, run_tier, summarize

CASES = {
    "passes": "def test_passes(): pass",
    "fails": "def test_fails(): assert 0",
    "errors": "import pytest\n@pytest.fixture\ndef broken(): 1 / 0\ndef test_errors(broken): pass",
    "tears": "import pytest\n@pytest.fixture\ndef broken():\n    yield\n    1 / 0\ndef test_tears(broken): pass",
    "skips": "import pytest\ndef test_skips(): pytest.skip('qemu-img is missing')",
    "expects": "import pytest\n@pytest.mark.xfail(reason='it is marked to fail')\ndef test_expects(): assert 0",
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose tier `unit` holds no test yet."""
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    monkeypatch.setattr(runner, "CHECKOUT", tmp_path)
    monkeypatch.setenv(
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"
    )  # the inner pytest needs none, and starts in half the time
    return tmp_path


def outcome_of(checkout: Path, *cases: str) -> Outcome:
    for case in cases:
        (checkout / "tests" / "unit" / f"test_{case}.py").write_text(CASES[case])
    return run_tier("unit", reports=checkout)


def test_every_folder_of_tests_is_a_tier_that_runs_without_being_named() -> None:
    folders = {
        path.relative_to(runner.CHECKOUT / "tests").parts[0] for path in runner.CHECKOUT.glob("tests/*/**/test_*.py")
    }
    assert folders == set(runner.TIERS)


def test_each_test_counts_once_and_an_error_before_or_after_it_as_failed(checkout: Path) -> None:
    outcome = outcome_of(checkout, *CASES)
    assert (outcome.passed, outcome.failed) == (1, 3)
    assert outcome.unable == Counter({"qemu-img is missing": 1, "it is marked to fail": 1})


def test_a_file_that_cannot_be_imported_has_failed(checkout: Path) -> None:
    (checkout / "tests" / "unit" / "test_broken.py").write_text("import no_such_module\n")
    assert outcome_of(checkout, "passes").failed == 1


def test_a_tier_without_tests_says_so_and_fails_nothing(checkout: Path) -> None:
    outcome = outcome_of(checkout)
    assert str(outcome) == "unit         no tests yet"
    assert outcome.failed == 0


def test_a_name_that_is_no_tier_is_refused_with_those_that_are(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(["contracts", "unit"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "no such tier of tests: contracts; there are: unit, contract, simulation, chart, cluster, e2e\n"
    assert shown.out == "", "nothing was run"


def test_files_of_tests_in_which_pytest_finds_none_have_failed(checkout: Path) -> None:
    (checkout / "tests" / "unit" / "test_empty.py").write_text("def check_nothing(): pass\n")
    assert outcome_of(checkout).failed == 1


def test_a_tier_that_cannot_start_has_failed(checkout: Path) -> None:
    (checkout / "tests" / "unit" / "conftest.py").write_text("import no_such_module\n")
    assert outcome_of(checkout, "passes").failed == 1


def test_a_tier_that_is_killed_has_failed(checkout: Path) -> None:
    (checkout / "tests" / "unit" / "test_killed.py").write_text("import os\ndef test_killed(): os.kill(os.getpid(), 9)")
    assert outcome_of(checkout).failed == 1


def test_the_summary_ends_with_the_counts_and_names_what_could_not_run() -> None:
    outcomes = [Outcome("unit", 5, 0), Outcome("chart", 2, 1, Counter({"qemu-img is missing": 3}))]
    lines, status = summarize(outcomes, require_all=False)
    assert lines[-1] == "7 passed, 1 failed"
    assert "  3 tests: qemu-img is missing" in lines
    assert status == 1


def test_what_could_not_run_fails_only_if_all_is_required() -> None:
    outcomes = [Outcome("unit", 5, 0, Counter({"qemu-img is missing": 1}))]
    assert summarize(outcomes, require_all=False)[1] == 0
    lines, status = summarize(outcomes, require_all=True)
    assert (lines[-1], status) == ("5 passed, 1 failed", 1)


def test_a_test_that_passes_and_then_fails_to_clean_up_is_not_counted_twice(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="t"/>'
        '<testcase classname="a" name="t"><error message="in teardown"/></testcase></testsuite></testsuites>'
    )
    outcome = read_report(report, tier="unit", seconds=0)
    assert (outcome.passed, outcome.failed) == (0, 1)


def test_only_the_nodes_tier_fails_where_a_node_is_required_and_cannot_run() -> None:
    unable = Counter({"no real node: root is needed": 2})
    outcomes = [Outcome("unit", passed=3, unable=Counter({"qemu-img is missing": 1})), Outcome("e2e", unable=unable)]
    assert summarize(outcomes, require_all=False)[1] == 0
    lines, status = summarize(outcomes, require_all=False, require_node=True)
    assert status == 1
    assert lines[-1] == "3 passed, 2 failed"
    assert summarize(outcomes[:1], require_all=False, require_node=True)[1] == 0

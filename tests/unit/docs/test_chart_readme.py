"""The chart's README against the code: the variables that the operator reads, and the metrics that it serves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics import MetricWrapperBase

from pantograph.cli.settings import PREFIX, read_settings
from pantograph.engine.metrics import Metrics
from tests.unit.docs.source import CHECKOUT
from tests.unit.docs.test_spec_pages import first_cells, rows

README = (CHECKOUT / "charts" / "pantograph" / "README.md").read_text()


class Environment(Mapping[str, str]):
    """The least that the operator needs; it notes what else it is asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return {f"{PREFIX}NAMESPACE": "pantograph-system"}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_variable_that_the_operator_reads_is_told_once_and_no_other() -> None:
    environment = Environment()
    read_settings(environment)
    assert sorted(first_cells(README, "variable")) == sorted(environment.asked)


def test_every_metric_is_told_once_with_its_labels_and_no_other() -> None:
    told = [(cells[0].strip("`"), re.findall(r"`(\w+)`", cells[1])) for cells in rows(README, "metric")]
    assert sorted(told) == sorted(_served())


def _served() -> Iterator[tuple[str, list[str]]]:
    for metric in vars(Metrics(CollectorRegistry())).values():
        if isinstance(metric, MetricWrapperBase):
            yield metric._name + ("_total" if isinstance(metric, Counter) else ""), list(metric._labelnames)

"""Label selectors as list requests carry them: `a=b,c!=d,e in (f,g),h notin (i),j,!k`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tests.fakes.apiserver.refusals import bad_request

Selector = Callable[[Mapping[str, str]], bool]

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!\s*{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:(?P<op>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|$)"
)


def selector(text: str | None) -> Selector:
    """What `text` asks of an object's labels; Invalid if it is no selector."""
    terms: list[Selector] = []
    position = 0
    text = text or ""
    while position < len(text):
        found = _TERM.match(text, position)
        if found is None:
            raise bad_request(f"unable to parse requirement: {text[position:]!r}")
        terms.append(_term(found))
        position = found.end()
    return lambda labels: all(term(labels) for term in terms)


def _term(found: re.Match[str]) -> Selector:
    if found["absent"]:
        absent = found["absent"][1:].strip()
        return lambda labels: absent not in labels
    key = found["key"]
    if found["set"]:
        wanted = {value.strip() for value in found["values"].split(",")}
    elif found["op"]:
        wanted = {found["value"]}
    else:
        return lambda labels: key in labels
    if found["op"] == "!=" or found["set"] == "notin":
        return lambda labels: labels.get(key) not in wanted
    return lambda labels: labels.get(key) in wanted

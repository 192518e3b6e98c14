"""PROPFIND's answer, in pieces of any size and in any dress."""

from __future__ import annotations

import pytest

from pantograph.providers.errors import ProtocolError
from pantograph.providers.media.multistatus import Multistatus

DRESSED = b"""<?xml version="1.0"?><a:multistatus xmlns:a="DAV:" xmlns:b="urn:other">
<a:response><a:href>/x/</a:href><a:propstat><a:prop><a:resourcetype><a:collection/></a:resourcetype>
<b:owner><a:href>/not/this</a:href></b:owner></a:prop><a:status>HTTP/1.1 200 OK</a:status></a:propstat>
<a:propstat><a:prop><a:getcontentlength/></a:prop><a:status>HTTP/1.1 404 Not Found</a:status></a:propstat></a:response>
<a:response><a:href> /x/a&amp;b.mkv </a:href><a:propstat><a:prop><a:resourcetype/>
<a:getcontentlength>12</a:getcontentlength></a:prop><a:status>HTTP/1.1 200 OK</a:status></a:propstat></a:response>
</a:multistatus>"""


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_it_is_read_whatever_the_pieces_and_prefixes(size: int) -> None:
    answer = Multistatus("the server")
    for start in range(0, len(DRESSED), size):
        answer.feed(DRESSED[start : start + size])
    answer.close()
    own, file = answer.resources
    assert (own.href, own.is_collection) == ("/x/", True)
    assert "getcontentlength" not in own.properties
    assert (file.href, file.is_collection, file.properties["getcontentlength"]) == ("/x/a&b.mkv", False, "12")


@pytest.mark.parametrize("cut", range(1, len(DRESSED) - 1, 37))
def test_wherever_it_breaks_off_it_is_not_whole(cut: int) -> None:
    answer = Multistatus("the server")
    answer.feed(DRESSED[:cut])
    with pytest.raises(ProtocolError):
        answer.close()


def test_entities_are_refused_before_they_grow() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><multistatus xmlns="DAV:">&b;</multistatus>'
    with pytest.raises(ProtocolError, match="document type"):
        Multistatus("the server").feed(bomb)


def test_depth_without_end_is_refused() -> None:
    with pytest.raises(ProtocolError, match="deep"):
        Multistatus("the server").feed(b'<multistatus xmlns="DAV:">' + b"<x>" * 10_000)

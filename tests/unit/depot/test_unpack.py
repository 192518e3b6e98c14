"""Compressed streams as publishers make them, and as transports break them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from backports import zstd

from pantograph.depot.errors import UnsupportedImage
from pantograph.depot.unpack import compression_of, unpacked

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "bz2": bz2.compress,
    "zst": zstd.compress,
}
CONTENT = Random(7).randbytes(256 << 10) + b"\0" * (1280 << 10)


def plain(path: Path, *, limit_bytes: int = 1 << 30) -> bytes:
    compression = compression_of(path)
    assert compression is not None
    return b"".join(unpacked(path, compression, limit_bytes=limit_bytes))


@pytest.mark.parametrize("name", PACKERS)
def test_it_is_known_by_content_and_comes_out_as_it_went_in(tmp_path: Path, name: str) -> None:
    path = tmp_path / "image.img"
    path.write_bytes(PACKERS[name](CONTENT))
    assert compression_of(path) == name
    assert plain(path) == CONTENT


@pytest.mark.parametrize("name", PACKERS)
def test_members_one_after_the_other_are_one_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(
        b"".join(PACKERS[name](CONTENT[start : start + 300_000]) for start in range(0, len(CONTENT), 300_000))
    )
    assert plain(path) == CONTENT


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_a_stream_that_ends_early_is_damaged(tmp_path: Path, name: str, kept: float) -> None:
    path, packed = tmp_path / "image", PACKERS[name](CONTENT)
    path.write_bytes(packed[: int(len(packed) * kept)])
    with pytest.raises(UnsupportedImage, match=f"the {name} stream is damaged"):
        plain(path)


@pytest.mark.parametrize("name", PACKERS)
def test_rubbish_behind_the_stream_is_damage_and_zeros_are_padding(tmp_path: Path, name: str) -> None:
    path, packed = tmp_path / "image", PACKERS[name](CONTENT)
    path.write_bytes(packed + b"\0" * 512)
    assert plain(path) == CONTENT
    path.write_bytes(packed + b"rubbish")
    with pytest.raises(UnsupportedImage, match=rf"the {name} stream is damaged after 1\.\d MiB"):
        plain(path)


@pytest.mark.parametrize("name", PACKERS)
def test_a_bomb_ends_at_the_limit_within_constant_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(PACKERS[name](b"\0" * (24 << 20)))
    compression = compression_of(path)
    assert compression is not None
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedImage, match=r"more than the allowed 12\.0 MiB"):
            for _ in unpacked(path, compression, limit_bytes=12 << 20):
                pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 6 << 20


def test_an_archive_that_wants_a_huge_window_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    compressor = zstd.ZstdCompressor(options={int(zstd.CompressionParameter.window_log): 28})
    path.write_bytes(compressor.compress(b"\0" * 1024) + compressor.flush())
    with pytest.raises(UnsupportedImage, match="zst stream is damaged"):
        plain(path)


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", b"\x1f\x8b", b"\0" * 512])
def test_what_has_no_magic_is_not_compressed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.gz"
    path.write_bytes(content)
    assert compression_of(path) is None

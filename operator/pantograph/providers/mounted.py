"""The Secrets that are mounted into a run, a directory each with a file a key."""

from __future__ import annotations

from pathlib import Path

from pantograph.providers.errors import Rejected


def read_key(directory: Path, key: str, *, name: str) -> str:
    """One key of the Secret that is mounted at `directory`, read anew each time. Raises Rejected.

    `name`: whose Secret it is, for the message.
    """
    try:
        return (directory / key).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(
            f"{name}: the key `{key}` of its Secret cannot be read ({type(error).__name__})",
            reason="SecretKeyMissing",
            remedy=f"kubectl create secret generic NAME --from-file={key}=FILE",
        ) from None

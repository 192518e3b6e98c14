"""Servers and folders that hold media: one port (`port.py`), one driver a module, and what they share.

May import `pantograph.clock`, `pantograph.api` and the general parts of `pantograph.providers`. Must never know a
`.strm` file's place on disk, what is to be deleted, or Kubernetes: a driver says what a source holds and how sure
that answer is.
"""

"""The STRM sync engine: list → filter → name → merge → write → prune, one directory at a time.

It knows the port `providers.media.port` and the models of `api`; it knows no Kubernetes, no network and no server's
wire format. It is called by the command line and, in a process of its own, by whoever runs jobs.
"""

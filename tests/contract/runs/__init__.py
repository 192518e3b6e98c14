"""How runs are executed and heard: the endpoint over TLS, and children that are real processes on real directories."""

"""The outside world, a port (Protocol) and its adapter a folder: plain dataclasses in and out, typed errors.

No Kubernetes here: nothing in this folder knows a custom resource, a controller or the engine.
"""

"""The contract of every kind: models, conditions, the operation record, and the CRDs made from them.

Pure: no I/O, no kopf, no clock of its own. Everything may import it; it imports nothing of ours.
"""

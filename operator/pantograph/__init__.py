"""Pantograph keeps correct copies of one declared master wherever it is wanted.

`api` is the contract of every kind, `engine` the Kubernetes side, `providers` and `depot` the outside world;
`controllers` bring them together, one kind a file, and `cli` starts it all. Imports go in that direction only.
"""

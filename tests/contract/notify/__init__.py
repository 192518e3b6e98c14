"""Notifications over real HTTP, against fakes on loopback."""

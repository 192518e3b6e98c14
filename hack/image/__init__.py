"""The operator's container image: what it is made of, and how a machine without an image registry makes it."""

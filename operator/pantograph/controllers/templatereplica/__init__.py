"""`TemplateReplica`: resolving, observing, making, removing, reporting; one story a file."""

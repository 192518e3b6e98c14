"""The outside world: errors, marks, limits, observation; each alone, on clocks and servers of its own."""

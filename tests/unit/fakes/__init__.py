"""The fakes' own verbs: what their contract suites cannot see, because the real thing has no such switch."""

"""Use cases: what tidegate does, in terms of rules and ports."""

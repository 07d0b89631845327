"""Stores that several processes share, on PostgreSQL and on SQLite.

Both load what a batch touches, let the rule of `domain/shared` change it, and write it back, in one
transaction. What they have in common is here; how each reads and writes is in its own folder.
"""

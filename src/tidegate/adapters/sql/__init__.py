"""Durable stores on SQLite."""

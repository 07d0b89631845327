"""Stores within one process."""

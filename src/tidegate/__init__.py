"""Tidegate: one gate between tenants and everything scarce."""

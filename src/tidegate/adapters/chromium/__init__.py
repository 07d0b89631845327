"""Sandboxed Chromium, driven by playwright."""

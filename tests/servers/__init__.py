"""Real servers for tests, as child processes with throw-away folders, and a proxy that misbehaves.

Test modules say `pytest_plugins = ["tests.servers.fixtures"]` and take the fixtures named there.
"""

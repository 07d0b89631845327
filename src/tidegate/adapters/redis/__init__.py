"""Redis and Valkey: addresses, and one thin pipelined connection to a server."""

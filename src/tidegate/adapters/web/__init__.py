"""The way out to the web: a guard and a client."""

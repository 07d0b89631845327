"""A shared store in PostgreSQL, for any number of processes and machines."""

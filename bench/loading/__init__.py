"""The parts of the load run; see `bench/load.py`."""

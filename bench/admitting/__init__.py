"""The parts of the admission benchmark; see `bench/admission.py`."""

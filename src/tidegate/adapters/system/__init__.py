"""What every operating system gives: time and randomness."""

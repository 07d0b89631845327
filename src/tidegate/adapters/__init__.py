"""The promises of `ports`, kept with one backend each."""

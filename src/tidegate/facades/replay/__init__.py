"""Running a log of requests through the limits of another policy, in virtual time.

A `Recording` (or `arrivals`) yields requests in order; a `Trial` decides each by a gate of its own
at the time that the log tells; a `Tally` counts who was refused, when and by what.
"""

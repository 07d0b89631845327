"""The names of the predecessors over ours, for those who come from there.

Nothing else uses them.
"""

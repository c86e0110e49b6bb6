"""Figures of what a model can and cannot do: each a function from arrays to a matplotlib figure."""

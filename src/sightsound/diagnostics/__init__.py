"""Sanity checks of a trained model: does it use sound, and does it use synchrony?

Every check is a function of a `Trial`, a model and the clips it is tried on, that gives a `Check`:
one sentence and the numbers behind it. `checks.py` lists them.
"""

"""The losses of AVT (Zhu 2024, arXiv 2401.04154); any model of two streams can have them.

`objective.py` puts them together. The others hold one loss, or one part of it, each.
"""

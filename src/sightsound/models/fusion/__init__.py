"""Fusion strategies (paper MBT, section 3.2): one file each, listed in `registry.FUSIONS`.

What a strategy is given and gives back is written down in `base.py`.
"""

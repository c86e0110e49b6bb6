"""Scores of a long file over time: windows, events, and what is made of them."""

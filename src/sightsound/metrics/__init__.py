"""Scores of predictions, and statistics about them."""

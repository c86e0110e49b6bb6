"""Scores of a trained model: evaluate, compare, write and read results."""

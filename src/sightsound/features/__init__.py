"""Frozen encoders, and features of clips computed once and kept on disk."""

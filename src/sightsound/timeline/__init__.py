"""Scores of long files over time: windows, events, subtitles, a page."""

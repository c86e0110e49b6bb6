"""Layers: torch only, no modality, no data set, no model."""

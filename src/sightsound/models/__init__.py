"""Models: tensors in, `Output` out. They never see files or data sets."""

"""Settings of a run: what there is to set, read from files and the command line."""

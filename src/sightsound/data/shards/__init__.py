"""Clips decoded once and stored: tar files that plain WebDataset reads, and an index of them.

A folder of shards holds

    shards.json         version, task and settings: what a rerun of `prepare` must agree with
    labels.json         classes in order
    train-000000.tar    clips, a fixed number in each file; `format.py` says how
    parts/              what is in each finished file, and what went wrong
    index.parquet       every clip, where it is; written last
    quarantine.csv      clips, and streams of clips, that could not be read, and why
"""

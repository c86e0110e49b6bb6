"""`python -m sightsound`: the command line."""

from sightsound.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

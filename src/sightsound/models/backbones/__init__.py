"""Networks that turn one second of pictures or sound into a map of features."""

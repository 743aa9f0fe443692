"""What is seen: one file per data set, each exposing `DEFAULTS` and `load(config)`."""

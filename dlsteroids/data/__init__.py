"""What is seen: one file a data set, each exposing `OPTIONS` and `load(config)`."""

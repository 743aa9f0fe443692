"""Models of other libraries as pure functions of variables, one kind a file."""

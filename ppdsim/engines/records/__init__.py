"""Records of other programs in the measurement format: recorded grids, and engines' own records of requests."""

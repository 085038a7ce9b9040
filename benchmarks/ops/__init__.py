"""Cases of the benchmark of the operators, one file a family."""

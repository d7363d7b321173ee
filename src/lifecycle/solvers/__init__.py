"""Array solvers that are no update rules, one per file."""

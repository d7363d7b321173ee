"""Array solvers that are no update rules, one per file, with their line search and convergence tests."""

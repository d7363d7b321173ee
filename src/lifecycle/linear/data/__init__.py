"""The data of many linear models: the design matrix, sample weights, feature statistics and coordinate frames."""

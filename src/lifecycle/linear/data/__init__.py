"""The training data of many linear models over the same rows, each part by itself.

`design_matrix` reads the rows of X, `sample_weights` says which rows each model trains on, `problem` holds what the
models share and the numbers in which they differ, `statistics` what is measured of features and targets, `frame` the
coordinates in which features are centred, and `fold_sums` the sums over training sets that overlap.
"""

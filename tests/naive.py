"""Slow, obvious oracles. Imports numpy only, so that they share no fault with what they judge."""

import numpy as np


def gd(p, grads, lr, weight_decay=0.0):
    p = np.array(p, dtype=np.float64)
    for g in grads:
        p = p - lr * (np.asarray(g, np.float64) + weight_decay * p)
    return p


def sgd(p, grads, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    p = np.array(p, dtype=np.float64)
    buffer = None
    for g in grads:
        g = np.asarray(g, np.float64) + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


def adamw(p, grads, lr, weight_decay=0.01, **hyper):
    return adam(p, grads, lr, weight_decay=weight_decay, decoupled_weight_decay=True, **hyper)


def adam(p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, bias_correction=True,
         decoupled_weight_decay=False):  # fmt: skip
    p = np.array(p, dtype=np.float64)
    m, v, largest = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64)
        if decoupled_weight_decay:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = np.maximum(largest, v)
        used = largest if amsgrad else v
        m_hat, v_hat = (m / (1 - betas[0] ** t), used / (1 - betas[1] ** t)) if bias_correction else (m, used)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p


def adagrad(p, grads, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    p = np.array(p, dtype=np.float64)
    total = np.full_like(p, initial_accumulator_value)
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64) + weight_decay * p
        total = total + g**2
        p = p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(total) + eps)
    return p


def rmsprop(p, grads, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    p = np.array(p, dtype=np.float64)
    square, mean, buffer = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = np.asarray(g, np.float64) + weight_decay * p
        square = alpha * square + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        step = g / (np.sqrt(square - mean**2 if centered else square) + eps)
        buffer = momentum * buffer + step
        p = p - lr * buffer
    return p


def adadelta(p, grads, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    p = np.array(p, dtype=np.float64)
    square, moved = np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = np.asarray(g, np.float64) + weight_decay * p
        square = rho * square + (1 - rho) * g**2
        delta = np.sqrt(moved + eps) / np.sqrt(square + eps) * g
        moved = rho * moved + (1 - rho) * delta**2
        p = p - lr * delta
    return p


def adamax(p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    p = np.array(p, dtype=np.float64)
    m, largest = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64) + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        largest = np.maximum(betas[1] * largest, np.abs(g) + eps)
        p = p - lr / (1 - betas[0] ** t) * m / largest
    return p


def nadam(p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
          decoupled_weight_decay=False):  # fmt: skip
    p = np.array(p, dtype=np.float64)
    m, v, product = np.zeros_like(p), np.zeros_like(p), 1.0
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64)
        if decoupled_weight_decay:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        now, then = (betas[0] * (1 - 0.96 ** (k * momentum_decay) / 2) for k in (t, t + 1))
        product *= now
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        ahead = then * m / (1 - product * then) + (1 - now) * g / (1 - product)
        p = p - lr * ahead / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p


def radam(p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False):
    p = np.array(p, dtype=np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    longest = 2 / (1 - betas[1]) - 1
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64)
        if decoupled_weight_decay:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        length = longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        step = m / (1 - betas[0] ** t)
        if length > 5:
            share = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            step = step * np.sqrt(share) * np.sqrt(1 - betas[1] ** t) / (np.sqrt(v) + eps)
        p = p - lr * step
    return p


def lion(p, grads, lr, betas=(0.9, 0.99), weight_decay=0.0):
    p = np.array(p, dtype=np.float64)
    m = np.zeros_like(p)
    for g in grads:
        p = p * (1 - lr * weight_decay) - lr * np.sign(betas[0] * m + (1 - betas[0]) * g)
        m = betas[1] * m + (1 - betas[1]) * g
    return p


def minibatch_epoch(X, Y, weights, order, batch, coef, intercept, rule, grads, slopes, lr, l1, l2, proximal,
                    fit_intercept):  # fmt: skip
    """An epoch of a linear model; `rule(p, grads, lr)` as above, `grads` the gradients so far, which it extends.

    The penalty is l1 * |w| + l2 * w²/2; `proximal`: it acts after the step, on its own.
    """
    coef, intercept = np.array(coef, np.float64), np.array(intercept, np.float64)
    thetas = []

    def step(g):
        # without weight decay a rule's step depends on the gradients alone
        zero = np.zeros(g.size)
        return rule(zero, [*grads, g], lr) - (rule(zero, grads, lr) if grads else zero)

    for begin in range(0, len(order), batch):
        rows = order[begin : begin + batch]
        pushes = slopes(Y[rows], X[rows] @ coef.T + intercept) * weights[rows, None] / len(rows)
        g, old = pushes.T @ X[rows], coef
        if not proximal:
            g = g + l2 * coef
            for at in np.ndindex(*g.shape):
                if coef[at] != 0:
                    g[at] += l1 * np.sign(coef[at])
                elif abs(g[at]) <= l1:
                    g[at] = 0.0
                else:
                    g[at] -= l1 * np.sign(g[at])
        whole = np.concatenate([g.ravel(), pushes.sum(axis=0)])
        moved = step(whole)
        grads.append(whole)
        coef = coef + moved[: g.size].reshape(g.shape)
        if fit_intercept:
            intercept = intercept + moved[g.size :]
        if proximal:
            coef = np.sign(coef) * np.maximum(np.abs(coef) - lr * l1, 0.0) / (1.0 + lr * l2)
        elif l1:
            for at in np.ndindex(*g.shape):
                side = np.sign(old[at]) if old[at] != 0 else -np.sign(g[at])
                if np.sign(coef[at]) != side:
                    coef[at] = 0.0
        thetas.append(np.concatenate([coef.ravel(), intercept]))
    return coef, intercept, thetas


def purged_kfold(start, end, n_splits, embargo):
    """(train, test) of each fold: the rows in order of start, in blocks; training rows that meet one are left out."""
    n = len(start)
    order = sorted(range(n), key=lambda i: (start[i], i))
    sizes = [n // n_splits + (k < n % n_splits) for k in range(n_splits)]
    folds = []
    for k in range(n_splits):
        test = order[sum(sizes[:k]) : sum(sizes[: k + 1])]
        first, last = min(start[i] for i in test), max(end[i] for i in test)
        train = []
        for i in range(n):
            meets = start[i] <= last and end[i] >= first
            too_soon = start[i] > last and start[i] <= last + embargo
            if not meets and not too_soon:
                train.append(i)
        folds.append((train, sorted(test)))
    return folds


def group_time_series_split(groups, n_splits, gap):
    """(train, test) of each fold; None where there is no group to train on."""
    seen = []
    for g in groups:
        if g not in seen:
            seen.append(g)
    size = len(seen) // (n_splits + 1)
    if size == 0 or len(seen) - n_splits * size - gap <= 0:
        return None
    folds = []
    for k in range(n_splits):
        begin = len(seen) - (n_splits - k) * size
        past, tested = seen[: begin - gap], seen[begin : begin + size]
        folds.append(([i for i, g in enumerate(groups) if g in past], [i for i, g in enumerate(groups) if g in tested]))
    return folds


def proximal_sgd(X, y, weights, order, coef, intercept, slope, value, lr, l1, l2, fit_intercept):
    """A step for each row of weight w: -lr w slope, then the proximal step of l1 |c| + l2 c²/2; and Σ w value."""
    coef, total = np.array(coef, np.float64), 0.0
    for i in order:
        z = coef @ X[i] + intercept
        total += weights[i] * value(y[i], z)
        push = lr * weights[i] * slope(y[i], z)
        coef = coef - push * X[i]
        coef = np.sign(coef) * np.maximum(np.abs(coef) - lr * l1, 0.0) / (1.0 + lr * l2)
        if fit_intercept:
            intercept = intercept - push
    return coef, intercept, total

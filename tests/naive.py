"""Slow, obvious reference implementations. They import numpy only, so that they share no fault with the library."""

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


def adam(
    p,
    grads,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    bias_correction=True,
    decoupled_weight_decay=False,
):
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
        m_hat, v_hat = m, largest if amsgrad else v
        if bias_correction:
            m_hat, v_hat = m_hat / (1 - betas[0] ** t), v_hat / (1 - betas[1] ** t)
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
    square_avg, grad_avg, buffer = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = np.asarray(g, np.float64) + weight_decay * p
        square_avg = alpha * square_avg + (1 - alpha) * g**2
        grad_avg = alpha * grad_avg + (1 - alpha) * g
        step = g / (np.sqrt(square_avg - grad_avg**2 if centered else square_avg) + eps)
        buffer = momentum * buffer + step
        p = p - lr * buffer
    return p


def adadelta(p, grads, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    p = np.array(p, dtype=np.float64)
    square_avg, acc_delta = np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = np.asarray(g, np.float64) + weight_decay * p
        square_avg = rho * square_avg + (1 - rho) * g**2
        delta = np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * g
        acc_delta = rho * acc_delta + (1 - rho) * delta**2
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


def nadam(
    p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, decoupled_weight_decay=False
):
    p = np.array(p, dtype=np.float64)
    m, v, mu_product = np.zeros_like(p), np.zeros_like(p), 1.0
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64)
        if decoupled_weight_decay:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        mu, mu_next = (betas[0] * (1 - 0.96 ** (k * momentum_decay) / 2) for k in (t, t + 1))
        mu_product *= mu
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * g / (1 - mu_product)
        p = p - lr * m_hat / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p


def radam(p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False):
    p = np.array(p, dtype=np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    rho_inf = 2 / (1 - betas[1]) - 1
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64)
        if decoupled_weight_decay:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        rho = rho_inf - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        step = m / (1 - betas[0] ** t)
        if rho > 5:
            rectification = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            step = step * rectification * np.sqrt(1 - betas[1] ** t) / (np.sqrt(v) + eps)
        p = p - lr * step
    return p


def lion(p, grads, lr, betas=(0.9, 0.99), weight_decay=0.0):
    p = np.array(p, dtype=np.float64)
    m = np.zeros_like(p)
    for g in grads:
        p = p * (1 - lr * weight_decay) - lr * np.sign(betas[0] * m + (1 - betas[0]) * g)
        m = betas[1] * m + (1 - betas[1]) * g
    return p


def minibatch_epoch(
    X, Y, weights, order, batch_size, coef, intercept, rule, grads, dloss, lr, l1, l2, is_proximal, fit_intercept
):
    """An epoch of a linear model; `rule(p, grads, lr)` as above, `grads` the gradients so far, which it extends.

    The penalty is l1 * |w| + l2 * w²/2. If `is_proximal`, its proximal step follows each step of the loss; else l2 is
    in the gradient, and l1 makes an orthant-wise step (Andrew & Gao, 2007).
    """
    coef, intercept = np.array(coef, np.float64), np.array(intercept, np.float64)
    thetas = []

    def step(g):
        # without weight decay a rule's step depends on the gradients alone
        zero = np.zeros(g.size)
        return rule(zero, [*grads, g], lr) - (rule(zero, grads, lr) if grads else zero)

    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        by_score = dloss(Y[rows], X[rows] @ coef.T + intercept) * weights[rows, None] / len(rows)
        g, old = by_score.T @ X[rows], coef
        if not is_proximal:
            g = pseudo_gradient(coef, g + l2 * coef, l1)
        gradient = np.concatenate([g.ravel(), by_score.sum(axis=0)])
        difference = step(gradient)
        grads.append(gradient)
        coef = coef + difference[: g.size].reshape(g.shape)
        if fit_intercept:
            intercept = intercept + difference[g.size :]
        if is_proximal:
            coef = prox(coef, lr, l1, l2)
        elif l1:
            coef = project_orthant(coef, old, g)
        thetas.append(np.concatenate([coef.ravel(), intercept]))
    return coef, intercept, thetas


def pseudo_gradient(w, g, l1):
    """g plus the subgradient of l1 |w| that makes the sum smallest."""
    result = np.array(g, np.float64)
    for at in np.ndindex(*result.shape):
        if w[at] != 0:
            result[at] += l1 * np.sign(w[at])
        elif abs(result[at]) <= l1:
            result[at] = 0.0
        else:
            result[at] -= l1 * np.sign(result[at])
    return result


def project_orthant(new, w, g):
    """new, with zero where it left the orthant of w (of -g, where w is zero)."""
    result = np.array(new, np.float64)
    for at in np.ndindex(*result.shape):
        orthant = np.sign(w[at]) if w[at] != 0 else -np.sign(g[at])
        if np.sign(result[at]) != orthant:
            result[at] = 0.0
    return result


def prox(w, t, l1, l2):
    """The minimizer over u of t (l1 |u| + l2 u²/2) + (u - w)²/2."""
    return np.sign(w) * np.maximum(np.abs(w) - t * l1, 0.0) / (1.0 + t * l2)


def proximal_sgd(X, y, weights, order, coef, intercept, dloss, value, lr, l1, l2, fit_intercept):
    """A step -lr w dloss for each row of weight w, then the proximal step of l1 |c| + l2 c²/2; and Σ w value."""
    coef, total = np.array(coef, np.float64), 0.0
    for i in order:
        z = coef @ X[i] + intercept
        total += weights[i] * value(y[i], z)
        step = lr * weights[i] * dloss(y[i], z)
        coef = prox(coef - step * X[i], lr, l1, l2)
        if fit_intercept:
            intercept = intercept - step
    return coef, intercept, total


def purged_kfold(start, end, n_splits, embargo):
    """(train, test) of each fold: blocks of rows in order of start; training rows that overlap are left out."""
    n = len(start)
    order = sorted(range(n), key=lambda i: (start[i], i))
    sizes = [n // n_splits + (k < n % n_splits) for k in range(n_splits)]
    folds = []
    for k in range(n_splits):
        test = order[sum(sizes[:k]) : sum(sizes[: k + 1])]
        first, last = min(start[i] for i in test), max(end[i] for i in test)
        train = []
        for i in range(n):
            overlaps = start[i] <= last and end[i] >= first
            too_soon = start[i] > last and start[i] <= last + embargo
            if not overlaps and not too_soon:
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


def obs_columns(weight, hessian, decide):
    """Columns decided one after another; decide(i, j, w) is what weight w of row i and column j becomes."""
    w = np.array(weight, dtype=np.float64)
    for j in range(w.shape[1]):
        inverse = np.linalg.inv(hessian[j:, j:])
        for i in range(len(w)):
            new = decide(i, j, w[i, j])
            w[i, j + 1 :] -= (w[i, j] - new) / inverse[0, 0] * inverse[0, 1:]
            w[i, j] = new
    return w


def trinomial_tail(n, p_worse, p_better, is_as_extreme):
    """Probability of all (worse, better) counts of n rows that are as extreme, by enumeration."""
    from math import comb

    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            if is_as_extreme(b, c):
                total += (
                    comb(n, b) * comb(n - b, c) * p_worse**b * p_better**c * (1 - p_worse - p_better) ** (n - b - c)
                )
    return total

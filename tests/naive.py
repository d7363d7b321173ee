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


def adam(
    p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, bias_correction=True, decoupled=False
):
    p = np.array(p, dtype=np.float64)
    m, v, largest = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = np.asarray(g, np.float64)
        if decoupled:
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

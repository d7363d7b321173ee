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

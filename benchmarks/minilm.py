"""The example of the guide to compression: a pretrained text encoder, compressed with a certificate."""

import json
from dataclasses import asdict
from pathlib import Path

from . import _data
from ._example import code_of, printed
from ._harness import record

N_TOKENS = 32
N_TRAIN, N_REST = 3000, 4000


def example(encoder, tokens, labels):
    """What the guide shows, and what it prints."""
    import torch

    import lifecycle as lc

    def embed(net, tokens):
        with torch.no_grad():
            return torch.cat([net(batch) for batch in tokens.split(250)]).numpy()

    # a linear classifier of the embeddings, which are what the encoder is for
    train, rest = slice(3000), slice(3000, None)
    classifier = lc.LinearClassifier(alpha=1e-5).fit(embed(encoder, tokens[train]), labels[train])

    def predict(net, tokens):  # a score for each class
        return classifier.decision_function(embed(net, tokens))

    result = lc.compress(encoder, tokens[rest], labels[rest], predict=predict, max_drop=0.02, random_state=0)
    print(result)
    return result


def run(rounds: int = 1, threads: int = 2, scale: float = 1.0) -> dict:
    """Run the example once; `scale` < 1 takes fewer rows to search and certify on."""
    import numpy as np
    import torch

    import lifecycle as lc

    from .compression import _minilm

    n_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        texts, groups = _data.newsgroup_texts("NEWSGROUPS", N_TRAIN + N_REST)
        encoder = _minilm.load(_data.path("MINILM"))
        labels = np.unique(groups, return_inverse=True)[1]
        n = len(labels) if scale == 1 else N_TRAIN + round(scale * N_REST)
        tokens = _minilm.tokenize(_data.path("MINILM"), texts, N_TOKENS)
        with lc.threads(threads):
            result, said = printed(example, encoder, tokens[:n], labels[:n])
    finally:
        torch.set_num_threads(n_before)
    candidates = [asdict(one) for one in result.candidates]
    return record("minilm", settings={"threads": threads, "scale": scale}, said=said, size=result.size_before,
                  candidates=json.loads(json.dumps(candidates)), max_drop=result.certificate.max_drop)  # fmt: skip


def table(result: dict) -> str:
    """What the example printed."""
    return f"## MiniLM, compressed with a certificate\n\n```text\n{result['said']}```\n"


def guide(result: dict) -> str:
    """Code, output and picture, for the guide."""
    return (
        f'\n```python title="minilm.py"\n{code_of(example)}\n```\n\n```text\n{result["said"]}```\n\n'
        "![Bytes of the candidates against their drop, with the bounds](images/minilm.svg)\n\n"
    )


def plots(result: dict, images: Path) -> None:
    """The candidates: bytes against drops and bounds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from lifecycle.compression import Candidate, Certificate, Compression

    plt.rcParams["svg.hashsalt"] = "lifecycle"  # the same picture is the same file
    candidates = []
    for one in result["candidates"]:
        proof = None if one["certificate"] is None else Certificate(**one["certificate"])
        candidates.append(Candidate(**{**one, "certificate": proof}))
    tested = [one.certificate for one in candidates if one.certificate is not None]
    figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
    Compression(None, tested[-1], candidates, result["size"], candidates[-1].size).plot(ax)
    images.mkdir(exist_ok=True)
    figure.savefig(images / "minilm.svg", metadata={"Date": None})
    plt.close(figure)

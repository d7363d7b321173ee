"""What the page about shipping shows beside its Python: a server, and signing a file with a local key."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lifecycle as lc
from tests.test_docs import blocks


@pytest.fixture
def folder(tmp_path):
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, np.array(["a", "b", "c"])[y])
    lc.save(model, tmp_path / "iris.safetensors", example=X)
    return tmp_path


def text_blocks(beginning: str) -> str:
    (found,) = (text for _, _, text in blocks("shipping.md") if text.startswith(beginning))
    return found


def test_the_server_of_the_page_answers_on_loopback(folder):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    (folder / "server.py").write_text(text_blocks("from fastapi"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "server:app", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}/v2/models/iris/infer"
            X = load_iris(return_X_y=True)[0][:2]
            body = {"inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP64", "data": X.tolist()}]}
            answer = _post(url, body, server)
            assert answer["outputs"][0]["data"] == ["a", "a"]
            with pytest.raises(urllib.error.HTTPError, match="400") as caught:
                _post(url, {"inputs": []}, server)
            caught.value.close()
        finally:
            server.terminate()


def _post(url: str, body: dict, server: subprocess.Popen) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    while server.poll() is None:
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:  # it has not started yet
            time.sleep(0.1)
    raise AssertionError("the server ended")


def test_the_commands_of_the_page_sign_and_verify_a_file(folder):
    pytest.importorskip("model_signing")
    _, *commands = text_blocks("pip install").splitlines()
    scripts = Path(sys.executable).parent
    for command in commands:
        subprocess.run(f'PATH="{scripts}:$PATH" {command}', shell=True, cwd=folder, check=True, capture_output=True)
    with open(folder / "iris.safetensors", "ab") as file:
        file.write(b"x")
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            f'PATH="{scripts}:$PATH" {commands[-1]}', shell=True, cwd=folder, check=True, capture_output=True
        )

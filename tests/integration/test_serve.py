"""The service as a process and over sockets: its start, slow clients, its end."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from aigid.serve import server
from tests.helpers import image_server
from tests.helpers.cli import aigid, refused
from tests.helpers.service import grain, listening, service_of, write_bundle

FILES = {"files": ("a.png", grain(size=300))}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("served"))


@contextmanager
def started(bundle, *options):
    """The command in a process of its own, once it listens, and its address."""
    code = "import sys; from aigid.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "serve", "--model", str(bundle), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, re.match(r"http://[\d.:]+", process.stderr.readline())[0]
        finally:
            process.kill()


def test_sigterm_finishes_what_runs(bundle):
    answers = []
    with started(bundle, "--allow-urls") as (process, address), image_server.serve({"a.png": grain()}) as files:
        private = httpx.post(f"{address}/v1/detect", json={"urls": [f"{files.url}/a.png"]})
        assert private.json()["error"]["code"] == "url_refused"
        assert not files.requests
        call = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{address}/v1/detect?explain=true", files=FILES, timeout=60))
        )
        call.start()
        with httpx.Client(base_url=address) as client:
            while not _is_scoring(client):
                time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        call.join()
        assert process.wait(30) == 0
        assert process.stdout.read() == ""
        assert "Traceback" not in process.stderr.read()
    assert answers[0].status_code == 200
    assert answers[0].json()["results"][0]["occlusion_map"]


def _is_scoring(client):
    return "aigid_batch_images_count 1.0" in client.get("/metrics").text


def test_a_bad_start_is_one_line(bundle, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused(aigid("serve", "--model", str(bundle), "--port", port, cwd=tmp_path), f"--port {port}", "in use")
    refused(aigid("serve", "--model", "nowhere", cwd=tmp_path), "--model nowhere: no bundle")
    refused(aigid("serve", "--host", "nosuch.invalid", cwd=tmp_path), "--host nosuch.invalid")
    refused(aigid("serve", "--api-keys", "nosuch", "--port", "0", cwd=tmp_path), "--api-keys nosuch")
    about = (bundle / "model.json").read_text()
    (tmp_path / "old").mkdir()
    (tmp_path / "old/model.json").write_text(about.replace('"schema_version": 3', '"schema_version": 2'))
    refused(aigid("serve", "--model", "old", "--port", "0", cwd=tmp_path), "schema version 2")
    twice = ("--model", str(bundle), "--model", str(bundle))
    refused(aigid("serve", *twice, "--port", "0", cwd=tmp_path), "two models are called bundle")
    weights = bundle.parent / "tiny.onnx"
    weights.rename(tmp_path / "away.onnx")
    try:
        refused(aigid("serve", "--model", str(bundle), "--port", "0", cwd=tmp_path), "weights", "no such file")
    finally:
        (tmp_path / "away.onnx").rename(weights)


def test_slow_clients_block_nobody_and_are_cut_off(bundle, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    with service_of(bundle, seconds=1, requests=2) as service, listening(service) as (address, _):
        port = int(address.rpartition(":")[2])
        heads = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        bodies = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        for head in heads:
            head.sendall(b"POST /v1/detect HTTP/1.1\r\nHost: 127.0")
        for body in bodies:
            headers = b"Host: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n"
            body.sendall(b"POST /v1/detect HTTP/1.1\r\n" + headers + b"\x89")
        assert httpx.post(f"{address}/v1/detect", files=FILES).status_code == 200
        for head in heads:
            head.settimeout(5)
            assert head.recv(99) == b""
            head.close()
        for body in bodies:
            body.settimeout(5)
            assert b" 408 " in body.recv(99)
            body.close()
        assert httpx.post(f"{address}/v1/detect", files=FILES).status_code == 200


def test_what_waits_for_a_client_that_has_gone_is_given_up(bundle):
    with service_of(bundle) as service, listening(service) as (address, _), httpx.Client(base_url=address) as client:
        large = {"files": ("a.png", grain(size=600))}
        slow = threading.Thread(target=lambda: httpx.post(f"{address}/v1/detect?explain=true", files=large, timeout=60))
        slow.start()
        while not _is_scoring(client):
            time.sleep(0.01)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/detect?explain=true", files=FILES, timeout=0.1)
        slow.join()
        assert client.post("/v1/detect", files=FILES).status_code == 200
        metrics = client.get("/metrics").text
    assert 'aigid_requests_total{path="/v1/detect",status="499"} 1.0' in metrics
    assert 'aigid_requests_total{path="/v1/detect",status="200"} 2.0' in metrics
    assert "aigid_batch_images_sum 2.0" in metrics

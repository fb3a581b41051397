"""A headless Chromium, spoken to over its debugging protocol, that tells what a page asks for and complains of."""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.request
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0")


def find() -> str | None:
    """The browser's program, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser that runs until the ``with`` block ends."""

    def __init__(self, program: str, profile: Path) -> None:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = _wait(profile / "DevToolsActivePort").split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            page = next(one for one in json.load(answer) if one["type"] == "page")
        self.socket = _connect(int(port), "/" + page["webSocketDebuggerUrl"].split("/", 3)[3])
        self.number, self.events = 0, []

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=30)

    def call(self, method: str, **parameters: object) -> dict:
        """The answer to one command; what happens meanwhile goes to ``events``."""
        self.number += 1
        _send(self.socket, json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(_receive(self.socket))
            if message.get("id") == self.number:
                return message["result"]
            self.events.append(message)

    def visit(self, path: Path, width: int) -> dict:
        """Open a file at a window width; the widths of window and page, and how many images have failed."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.as_uri())
        script = """new Promise(done => { const all = document.images;
          const look = () => document.readyState != "complete" ? setTimeout(look, 50) : done(JSON.stringify({
            page: document.documentElement.scrollWidth, window: innerWidth, images: all.length,
            broken: [...all].filter(one => !one.naturalWidth).length})); setTimeout(look, 200); })"""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True)
        return json.loads(found["result"]["value"])

    def complaints(self) -> list[dict]:
        """Exceptions, console messages and log entries so far."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in kinds]

    def requests(self) -> list[str]:
        """The addresses asked for so far, but for data inside the page."""
        sent = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method", "").endswith("requestWillBeSent")
        ]
        return [url for url in sent if not url.startswith("data:")]


def _wait(path: Path, seconds: float = 60) -> str:
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.1)
    raise TimeoutError(path)


def _connect(port: int, target: str) -> socket.socket:
    """A WebSocket (RFC 6455) to this machine."""
    found = socket.create_connection(("127.0.0.1", port), timeout=60)
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    found.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += found.recv(1)
    assert b" 101 " in answer.splitlines()[0], answer
    return found


def _send(to: socket.socket, text: str) -> None:
    data, mask = text.encode(), os.urandom(4)
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    to.sendall(b"\x81" + size + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data)))


def _receive(source: socket.socket) -> str:
    data, last = b"", False
    while not last:
        first, size = _exactly(source, 2)
        size = size if size < 126 else int.from_bytes(_exactly(source, 2 if size == 126 else 8), "big")
        data, last = data + _exactly(source, size), bool(first & 0x80)
    return data.decode()


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += source.recv(size - len(data))
    return data

"""A stand-in of the Hugging Face hub: the part of its HTTP interface by which repositories are written and read."""

import base64
import hashlib
import json
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler

from tests.helpers.local_server import LocalServer, running

TOKEN = "hf_stand_in"


class HubServer(LocalServer):
    """``commits`` by repository and sha; ``refs`` by repository and name; ``requests`` are methods and paths."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name][sha] = files
        self.refs[name]["main"] = sha
        return sha


class Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, value: object, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        parts = self.path.partition("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        if name not in self.server.commits:
            return self.reply({}, 404, X_Error_Code="RepoNotFound")
        revision = (parts[5] if len(parts) > 5 else "main") if api else parts[3]
        sha = self.server.refs[name].get(revision, revision)
        files = self.server.commits[name].get(sha)
        if files is None:
            return self.reply({}, 404, X_Error_Code="RevisionNotFound")
        if api:
            return self.reply({"id": name, "sha": sha, "siblings": [{"rfilename": file} for file in files]})
        content = files.get("/".join(parts[4:]))
        if content is None:
            return self.reply({}, 404, X_Error_Code="EntryNotFound")
        return self.reply(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=sha)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self.server.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply({"error": "Invalid username or password."}, 401)
        parts = self.path.strip("/").split("/")
        if self.path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given.get('organization') or 'me'}/{given['name']}"
            self.server.commits.setdefault(name, {})
            self.server.refs.setdefault(name, {})
            return self.reply({"url": f"{self.server.url}/{name}"})
        name, action = "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            files = json.loads(body)["files"]
            modes = [{"path": it["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for it in files]
            return self.reply({"files": modes})
        lines = [json.loads(line) for line in body.splitlines()]
        files = {it["value"]["path"]: base64.b64decode(it["value"]["content"]) for it in lines if it["key"] == "file"}
        sha = self.server.commit(name, files)
        url = f"{self.server.url}/{name}/commit/{sha}"
        return self.reply({"success": True, "commitOid": sha, "commitUrl": url})


def serve() -> AbstractContextManager[HubServer]:
    """Serve an empty hub until the block ends."""
    return running(HubServer())

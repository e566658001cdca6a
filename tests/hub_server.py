"""A hub on this machine: what huggingface_hub calls of huggingface.co's HTTP interface to push and to fetch a model.

Repositories with branches and commits live in memory. As there, large files go by Git LFS and are fetched from another
host; others come within the commit; a private repository is not there for who has no token for it; errors carry the
codes that the library looks for.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_stand_in"
USER = "someone"
LICENCES = ("mit", "apache-2.0")


@dataclass
class Repository:
    """Files of commits; a branch is the name of one."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        listing = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        sha = hashlib.sha1(json.dumps([self.branches[branch], listing]).encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def files(self, branch: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches[branch]]


@dataclass
class Hub:
    """What the server holds, and how it may lie: `altered` files are served in place of those that it lists."""

    address: str
    elsewhere: str  # the same server by another name, as large files have a host of their own
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # of Git LFS, by SHA-256
    altered: dict[str, bytes] = field(default_factory=dict)  # by name
    listed: list[dict] = field(default_factory=list)  # besides the files that are there
    requests: list[str] = field(default_factory=list)


def is_large(name: str) -> bool:
    return name.endswith(".safetensors")


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str = "", told: dict | None = None):
        self.status, self.code, self.told = status, code, told or {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        body = self.body()
        try:
            for method, pattern, answer in ROUTES:
                if self.command in method.split() and (found := re.fullmatch(pattern, path)):
                    result = answer(self, body, *map(unquote, found.groups()))
                    if result is not None:
                        self.send(200, json.dumps(result).encode())
                    return
            raise Refused(404)
        except Refused as refused:
            headers = {"X-Error-Code": refused.code} if refused.code else {}
            self.send(refused.status, json.dumps(refused.told).encode(), **headers)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def may(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repository(self, name: str, write: bool = False) -> Repository:
        found = self.hub.repositories.get(name)
        if found is None or (found.private and not self.may()):
            raise Refused(404 if self.may() else 401, "RepoNotFound")
        if write and not self.may():
            raise Refused(403)
        return found

    def commit_of(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        repository = self.repository(name)
        sha = repository.branches.get(revision, revision)
        if sha not in repository.commits:
            raise Refused(404, "RevisionNotFound")
        return sha, repository.commits[sha]

    def create(self, body: bytes) -> dict:
        asked = json.loads(body)
        if not self.may():
            raise Refused(401)
        name = f"{asked['organization'] or USER}/{asked['name']}"
        told = {"url": f"{self.hub.address}/{name}", "name": name}
        if name in self.hub.repositories:
            raise Refused(409, told=told)
        self.hub.repositories[name] = Repository(asked.get("visibility") == "private")
        return told

    def validate(self, body: bytes) -> dict:
        content = json.loads(body)["content"]
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        head = yaml.safe_load(found[1]) if found else {}
        if head.get("license", "mit") not in LICENCES:
            raise Refused(400, told={"errors": [{"message": '"license" must be one of the known'}]})
        return {"errors": [], "warnings": []}

    def info(self, body: bytes, name: str, revision: str = "main") -> dict:
        sha, files = self.commit_of(name, revision)
        siblings = [
            {
                **{"rfilename": file, "size": len(data), "blobId": blob_id(data)},
                **(
                    {"lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}}
                    if is_large(file)
                    else {}
                ),
            }
            for file, data in files.items()
        ]
        private = self.hub.repositories[name].private
        return {"id": name, "sha": sha, "private": private, "siblings": siblings + self.hub.listed}

    def preupload(self, body: bytes, name: str, revision: str) -> dict:
        self.repository(name, write=True)
        _, files = self.commit_of(name, revision)
        return {
            "files": [
                {
                    **{"path": file["path"], "uploadMode": "lfs" if is_large(file["path"]) else "regular"},
                    **{"shouldIgnore": False, "oid": self.oid(file["path"], files.get(file["path"]))},
                }
                for file in json.loads(body)["files"]
            ]
        }

    def oid(self, name: str, data: bytes | None) -> str | None:
        if data is None:
            return None
        return hashlib.sha256(data).hexdigest() if is_large(name) else blob_id(data)

    def batch(self, body: bytes, name: str) -> dict:
        self.repository(name, write=True)
        objects = json.loads(body)["objects"]
        for each in objects:
            if each["oid"] not in self.hub.large:
                each["actions"] = {"upload": {"href": f"{self.hub.address}/large/{each['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def store(self, body: bytes, oid: str) -> dict:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400)
        self.hub.large[oid] = body
        return {}

    def commit(self, body: bytes, name: str, branch: str) -> dict:
        repository = self.repository(name, write=True)
        if branch not in repository.branches:
            raise Refused(404, "RevisionNotFound")
        files = dict(repository.files(branch))
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(branch, files)
        return {"commitUrl": f"{self.hub.address}/{name}/commit/{sha}", "commitOid": sha}

    def branch(self, body: bytes, name: str, branch: str) -> dict:
        repository = self.repository(name, write=True)
        if branch in repository.branches:
            raise Refused(409)
        repository.branches[branch] = repository.branches["main"]
        return {}

    def resolve(self, body: bytes, name: str, revision: str, file: str) -> None:
        sha, files = self.commit_of(name, revision)
        if file not in files:
            raise Refused(404, "EntryNotFound")
        data = self.hub.altered.get(file, files[file])
        headers = {"X-Repo-Commit": sha, "ETag": f'"{self.oid(file, files[file])}"'}
        if is_large(file):
            headers |= {"X-Linked-ETag": headers.pop("ETag"), "X-Linked-Size": str(len(data))}
            self.hub.large[f"of-{file}"] = data
            self.send(302, b"", Location=f"{self.hub.elsewhere}/large/of-{file}", **headers)
        else:
            self.send(200, data, **headers)

    def fetch(self, body: bytes, oid: str) -> None:
        if self.headers.get("Authorization"):  # is for the hub alone
            raise Refused(400)
        self.send(200, self.hub.large[oid])


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("GET", f"/api/models/{NAME}/revision/([^/]+)", Handler.info),
    ("POST", f"/api/models/{NAME}/preupload/([^/]+)", Handler.preupload),
    ("POST", f"/api/models/{NAME}/commit/([^/]+)", Handler.commit),
    ("POST", f"/api/models/{NAME}/branch/([^/]+)", Handler.branch),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/large/(.+)", Handler.store),
    ("GET HEAD", "/large/(.+)", Handler.fetch),
    ("GET HEAD", f"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
]


@contextmanager
def serving():
    """A hub, as long as the block runs."""
    handler = type("HandlerOfOne", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.hub = Hub(*(f"http://{name}:{server.server_port}" for name in ("127.0.0.1", "localhost")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield handler.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

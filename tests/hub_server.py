"""A loopback server that speaks the Hub's protocol to the real client, with faults that can be switched on for a repository."""

import base64
import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_only_for_this_test"
PART_BYTES = 2**18


@dataclass
class Fault:
    """What goes wrong where `where`, a pattern over "METHOD path", matches: so many `times`, in the manner of `kind`.

    kind: a status with an optional X-Error-Code such as "404 RepoNotFound", or truncated (half of it), "cut N" (at byte N of the file),
    "throttled SECONDS" (that long for all of it), hang (no answer), stuck (half of it, then nothing), corrupt, slow, html.
    """

    kind: str
    where: str = "."
    times: int = 10**6


@dataclass
class Repo:
    """Commits by hash, branches and tags; `listed` adds names to the listings for which there is no file, `ranges`: it can resume."""

    commits: dict = field(default_factory=dict)
    refs: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)
    listed: dict = field(default_factory=dict)
    needs_token: bool = False
    private: bool | None = None
    ranges: bool = False

    def commit(self, files, branch="main"):
        """A new commit with exactly these files -> its hash."""
        content = "".join(f"{name}:{git_hash(data)};" for name, data in sorted(files.items()))
        sha = hashlib.sha1(f"{content}{len(self.commits)}".encode()).hexdigest()
        self.commits[sha], self.refs[branch] = dict(files), sha
        return sha

    def resolve(self, revision):
        return self.refs.get(revision, revision if revision in self.commits else None)


class Hub:
    """All repositories, the large files, and every request that was made."""

    def __init__(self):
        self.repos, self.blobs, self.requests, self.lock = {}, {}, [], threading.Lock()

    def add(self, name, files, **settings):
        self.repos[name] = Repo(**settings)
        return self.repos[name].commit(files)

    def fault(self, repo, request):
        """The fault that strikes this request, once less from then on."""
        with self.lock:
            for fault in repo.faults if repo else []:
                if fault.times > 0 and re.search(fault.where, request):
                    fault.times -= 1
                    return fault.kind
        return None


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name):
    return name.endswith((".safetensors", ".bin"))


def entry(name, data):
    """A file as listings describe it."""
    if not is_large(name):
        return {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
    sha256 = hashlib.sha256(data).hexdigest()
    return {"type": "file", "path": name, "size": len(data), "oid": git_hash(sha256.encode()),
            "lfs": {"oid": sha256, "size": len(data), "pointerSize": 130}}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """One request. The hub is an attribute of the server."""

    protocol_version = "HTTP/1.1"
    routes = [
        ("GET", r"/control/requests", "control"),
        ("HEAD", r"/", "front"),
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", r"/api/repos/create", "create"),
        ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)", "info"),
        ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)", "tree"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "branch"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/lfs/(?P<repo>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})", "upload"),
        ("HEAD|GET", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "file"),
    ]

    def handle_request(self):
        hub, path = self.server.hub, urlsplit(self.path).path
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path != "/control/requests":
            hub.requests.append(f"{self.command} {path}")
        for method, pattern, action in self.routes:
            if self.command in method.split("|") and (found := re.fullmatch(pattern, path)):
                groups = {name: unquote(value) for name, value in found.groupdict().items()}
                repo = hub.repos.get(groups.pop("repo")) if "repo" in groups else None
                return self.act(action, repo, groups, "repo" in found.groupdict(), hub.fault(repo, f"{self.command} {path}"))
        return self.answer(404, {"error": "no such route"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def act(self, action, repo, groups, needs_repo, fault):
        if fault and fault[0].isdigit():
            status, _, code = fault.partition(" ")
            return self.answer(int(status), {"error": "switched on"}, **({"X-Error-Code": code} if code else {}))
        if fault == "slow":
            time.sleep(self.server.slow_seconds)
        if fault == "hang":
            return self.hang()
        if fault == "html":
            return self.send(200, b"<html>please log in to this hotel</html>", {"Content-Type": "text/html"})
        if needs_repo and repo is None:
            return self.answer(404, {"error": "no such repository"}, **{"X-Error-Code": "RepoNotFound"})
        if repo and repo.needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "no token"})
        self.fault = fault
        return getattr(self, f"on_{action}")(*([repo] if needs_repo else []), **groups)

    def on_control(self):
        self.answer(200, self.server.hub.requests)

    def on_front(self):
        self.answer(200, {})

    def on_whoami(self):
        self.answer(200, {"type": "user", "name": "me", "orgs": []})

    def on_validate(self):
        self.answer(200, {"errors": [], "warnings": []})

    def on_create(self):
        wanted = json.loads(self.body)
        name, hub = f"{wanted['organization']}/{wanted['name']}", self.server.hub
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "no token"})
        if wanted["organization"] != "me":
            return self.answer(403, {"error": "not yours"})
        if name in hub.repos:
            return self.answer(409, {"error": "exists", "url": f"{self.base}/{name}"})
        hub.repos[name] = Repo(private=wanted.get("visibility") == "private" or wanted.get("private"))
        hub.repos[name].commit({})
        return self.answer(200, {"url": f"{self.base}/{name}"})

    def on_info(self, repo, revision):
        if (sha := self.known(repo, revision)) is None:
            return None
        files = [entry(name, data) for name, data in repo.commits[sha].items()]
        files += [{"path": name, "size": size, "oid": "0" * 40} for name, size in repo.listed.items()]
        blobs = [{"rfilename": file["path"], "size": file["size"], "blobId": file["oid"]} for file in files]
        return self.answer(200, {"id": "me/x", "sha": sha, "siblings": blobs, "private": bool(repo.private), "tags": [], "downloads": 0})

    def on_tree(self, repo, revision):
        if (sha := self.known(repo, revision)) is None:
            return None
        files = [entry(name, data) for name, data in repo.commits[sha].items()]
        return self.answer(200, files + [{"type": "file", "path": n, "size": s, "oid": "0" * 40} for n, s in repo.listed.items()])

    def on_branch(self, repo, revision):
        if revision in repo.refs:
            return self.answer(409, {"error": "exists"})
        repo.refs[revision] = repo.refs["main"]
        return self.answer(200, {})

    def on_preupload(self, repo, revision):
        if (sha := self.known(repo, revision)) is None:
            return None
        files, there = json.loads(self.body)["files"], repo.commits[sha]
        modes = [{"path": f["path"], "uploadMode": "lfs" if is_large(f["path"]) else "regular", "shouldIgnore": False,
                  "oid": entry(f["path"], there[f["path"]])["oid"] if f["path"] in there else None} for f in files]  # fmt: skip
        return self.answer(200, {"files": modes})

    def on_batch(self, repo):
        wanted, name = json.loads(self.body)["objects"], re.match(r"/(.+?)\.git", self.path)[1]
        objects = [{**item, "actions": {"upload": {"href": f"{self.base}/lfs/{name}/{item['oid']}"}}} for item in wanted]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def on_upload(self, repo, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.answer(422, {"error": "not what its hash says"})
        self.server.hub.blobs[oid] = self.body
        return self.answer(200, {})

    def on_commit(self, repo, revision):
        if (sha := self.known(repo, revision)) is None:
            return None
        files = dict(repo.commits[sha])
        for line in self.body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.server.hub.blobs[item["value"]["oid"]]
        sha = repo.commit(files, revision)
        name = re.match(r"/api/models/([^/]+/[^/]+)/", self.path)[1]
        return self.answer(200, {"commitUrl": f"{self.base}/{name}/commit/{sha}", "commitOid": sha, "success": True})

    def on_file(self, repo, revision, name):
        if (sha := self.known(repo, revision)) is None:
            return None
        data = repo.commits[sha].get(name)
        if data is None:
            return self.answer(404, {"error": "no such file"}, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
        found, headers = entry(name, data), {"X-Repo-Commit": sha, "Content-Type": "application/octet-stream"}
        headers["ETag"] = f'"{found["oid"]}"'
        if "lfs" in found:
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{found["lfs"]["oid"]}"'}
        if self.command == "GET" and self.fault == "corrupt":
            data = bytes([data[0] ^ 1]) + data[1:]
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if first and repo.ranges:
            start = int(first[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.send_body(206, data[start:], headers, start)
        return self.send_body(200, data, headers)

    def send_body(self, status, data, headers, start=0):
        """A file from byte `start` on, in the manner of the fault."""
        kind, _, number = (self.fault or "").partition(" ")
        if self.command == "HEAD" or kind not in ("truncated", "cut", "stuck", "throttled"):
            return self.send(status, data, headers)
        self.send(status, data, headers, body=False)
        end = {"cut": int(float(number or 0)) - start, "throttled": len(data)}.get(kind, len(data) // 2)
        for place in range(0, max(end, 0), PART_BYTES):
            self.wfile.write(data[place : min(place + PART_BYTES, end)])
            time.sleep(float(number) * PART_BYTES / len(data) if kind == "throttled" else 0)
        if kind == "stuck":
            self.hang()
        self.close_connection = True
        return None

    def hang(self):
        """Says no more, until the server ends."""
        self.server.over.wait()
        self.close_connection = True

    def known(self, repo, revision):
        sha = repo.resolve(revision)
        if sha is None:
            self.answer(404, {"error": "no such revision"}, **{"X-Error-Code": "RevisionNotFound"})
        return sha

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, status, content, **headers):
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})

    def send(self, status, data, headers, body=True):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    slow_seconds = 15

    def handle_error(self, request, client_address):
        pass  # a client that hung up


@contextmanager
def serving():
    """A running hub -> (Hub, its address)."""
    server = Server(("127.0.0.1", 0), Handler)
    server.hub, server.over = Hub(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()

"""Downloads go on where they were cut, are checked by hash, and have their name only when whole."""

import hashlib
import http.server
import os
import threading
from types import SimpleNamespace

import pytest

from trm.data import download as downloading
from trm.data.download import download, fetch
from trm.files import BadInput, Fault
from trm.puzzles import Source, sudoku

CONTENT = os.urandom(1000) * 3000  # 3 MB: more than what is read at a time


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; each request takes the next of the server's orders, such as "500" or "cut"."""

    def do_GET(self):
        site = self.server.site
        asked = self.headers.get("Range")
        site.requests.append(asked)
        order = site.orders.pop(0) if site.orders else "ok"
        if order.isdigit():
            self.send_error(int(order))
            return
        if order == "garbage":
            self.wfile.write(b"not even HTTP\r\n\r\n")
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and order != "no range" else 0
        if start and start >= len(site.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        body = site.content[start:]
        if order == "cut chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(body) + body[: site.cut_after])
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: site.cut_after] if order == "cut" else body)

    def log_message(self, *_):
        pass


class ChunkedHandler(Handler):
    protocol_version = "HTTP/1.1"


@pytest.fixture
def site(monkeypatch):
    """A server on this machine; orders may be set before each download."""
    monkeypatch.setattr(downloading, "PAUSE", 0)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = server.site = SimpleNamespace(orders=[], requests=[], content=CONTENT, cut_after=1_100_000, server=server)
    site.url = f"http://127.0.0.1:{server.server_port}/raw.csv"
    site.source = Source(site.url, hashlib.sha256(CONTENT).hexdigest())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_arrives_whole(site, tmp_path):
    path = fetch(site.source, tmp_path / "new/raw.csv")
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == ["raw.csv"]
    assert site.requests == [None]


def test_a_whole_file_is_not_fetched_again(site, tmp_path):
    for _ in range(2):
        fetch(site.source, tmp_path / "raw.csv")
    assert len(site.requests) == 1


def test_a_file_with_other_content_is_replaced(site, tmp_path):
    (tmp_path / "raw.csv").write_text("old")
    assert fetch(site.source, tmp_path / "raw.csv").read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_was_cut(site, tmp_path):
    site.orders = ["cut", "cut"]
    assert fetch(site.source, tmp_path / "raw.csv").read_bytes() == CONTENT
    assert site.requests == [None, "bytes=1100000-", "bytes=2200000-"]


def test_a_download_goes_on_in_the_next_run(site, tmp_path):
    site.orders = ["cut", "500", "500", "500"]
    with pytest.raises(Fault, match="after 4 tries; run again to go on") as caught:
        fetch(site.source, tmp_path / "raw.csv")
    assert caught.value.status == 1
    assert not (tmp_path / "raw.csv").exists()
    assert fetch(site.source, tmp_path / "raw.csv").read_bytes() == CONTENT
    assert site.requests[-1] == "bytes=1100000-"
    assert os.listdir(tmp_path) == ["raw.csv"]


def test_a_server_without_ranges_is_asked_for_everything(site, tmp_path):
    site.orders = ["cut", "no range"]
    assert fetch(site.source, tmp_path / "raw.csv").read_bytes() == CONTENT


def test_a_part_that_was_already_whole_is_used(site, tmp_path):
    (tmp_path / ".raw.csv.part").write_bytes(CONTENT)
    assert fetch(site.source, tmp_path / "raw.csv").read_bytes() == CONTENT
    assert site.requests == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("order", ["500", "503", "429", "garbage"])
def test_what_may_pass_is_tried_again(site, tmp_path, order, capsys):
    site.orders = [order, order]
    assert fetch(site.source, tmp_path / "raw.csv").read_bytes() == CONTENT
    assert len(site.requests) == 3
    assert capsys.readouterr().err.count("trying again") == 2


def test_a_cut_within_a_chunk_is_tried_again(site, tmp_path):
    site.server.RequestHandlerClass = ChunkedHandler
    site.orders = ["cut chunked"]
    assert fetch(site.source, tmp_path / "raw.csv").read_bytes() == CONTENT


def test_a_missing_file_is_told_at_once(site, tmp_path):
    site.orders = ["404"]
    with pytest.raises(Fault, match=f"{site.url}: 404 Not Found, expected the file"):
        fetch(site.source, tmp_path / "raw.csv")
    assert len(site.requests) == 1
    assert os.listdir(tmp_path) == []


def test_a_server_that_does_not_answer_is_told(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "TRIES", 2)
    nowhere = Source("http://127.0.0.1:1/raw.csv", site.source.sha256)
    with pytest.raises(Fault, match="Connection refused, after 2 tries"):
        fetch(nowhere, tmp_path / "raw.csv")


def test_wrong_content_is_not_kept(site, tmp_path):
    site.content = CONTENT[:-1] + b"?"
    with pytest.raises(BadInput, match=r"expected .*; nothing was kept") as caught:
        fetch(site.source, tmp_path / "raw.csv")
    assert caught.value.status == 2
    assert os.listdir(tmp_path) == []


def test_the_name_is_taken_only_when_whole(site, tmp_path, monkeypatch):
    site.orders = ["cut", "cut"]
    seen = []
    monkeypatch.setattr(downloading.time, "sleep", lambda _: seen.append(os.listdir(tmp_path)))
    fetch(site.source, tmp_path / "raw.csv")
    assert seen == [[".raw.csv.part"]] * 2
    assert os.listdir(tmp_path) == ["raw.csv"]


def test_a_puzzle_s_files_are_fetched_by_name_or_all(site, tmp_path, monkeypatch):
    monkeypatch.setattr(sudoku, "SOURCES", {"train.csv": site.source, "test.csv": site.source})
    assert download("sudoku", ["test.csv"], tmp_path / "one") == [tmp_path / "one/test.csv"]
    assert os.listdir(tmp_path / "one") == ["test.csv"]
    assert len(download("sudoku", [], tmp_path / "all")) == 2
    with pytest.raises(BadInput, match=r"no raw file dev.csv, expected one of train.csv, test.csv"):
        download("sudoku", ["dev.csv"], tmp_path)

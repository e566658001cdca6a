"""Raw files from their pinned addresses: resumed when cut off, tried again, checked by hash, whole or not there."""

import http.client
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from trm import puzzles
from trm.files import BadInput, Fault, sha256
from trm.progress import progress
from trm.puzzles import Source

TRIES = 4
PAUSE = 2.0  # seconds before the second try, twice as long before each further one
BLOCK = 1 << 20
BUSY = (408, 429)  # request timeout, too many requests


def download(puzzle: str, names: list[str], out: Path) -> list[Path]:
    """Fetch raw files of a puzzle (all of them where `names` is empty) into the folder `out`."""
    module = puzzles.module(puzzle)
    sources = module.SOURCES
    if not sources:
        raise BadInput(f"{puzzle}: no file to download; {getattr(module, 'RAW_HINT', 'its boards are generated')}")
    if unknown := sorted(set(names) - set(sources)):
        raise BadInput(f"{puzzle}: no raw file {', '.join(unknown)}, expected one of {', '.join(sources)}")
    return [fetch(sources[name], out / name) for name in names or sources]


def fetch(source: Source, path: Path) -> Path:
    """Fetch one file; nothing is done where it is there already. Raises Fault when it cannot be had."""
    if path.is_file() and sha256(path) == source.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # kept between tries and runs: a download goes on where it was cut
    for attempt in range(TRIES):
        try:
            _transfer(source.url, part)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in BUSY:  # will be no better next time
                part.unlink(missing_ok=True)
                raise Fault(f"{source.url}: {error.code} {error.reason}, expected the file") from None
            problem = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:  # the latter: cut off within an answer
            problem = str(getattr(error, "reason", error))
        if attempt == TRIES - 1:
            raise Fault(f"{source.url}: {problem}, after {TRIES} tries; run again to go on") from None
        print(f"{source.url}: {problem}; trying again", file=sys.stderr)
        time.sleep(PAUSE * 2**attempt)
    found = sha256(part)
    if found != source.sha256:
        part.unlink()
        raise BadInput(f"{source.url}: sha256 {found}, expected {source.sha256}; nothing was kept")
    part.replace(path)
    return path


def _transfer(url: str, part: Path) -> None:
    """Append to `part` what is still missing of it. Raises OSError when the connection is cut."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing beyond what is here: it is whole, or not ours; the hash will tell
            return
        raise
    with response, open(part, "ab" if response.status == 206 else "wb") as file:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with progress(part.name.strip(".").removesuffix(".part"), total or have, have) as advance:
            while block := response.read(BLOCK):
                file.write(block)
                advance(len(block))
    if total is not None and part.stat().st_size < total:
        raise OSError(f"cut off at {part.stat().st_size} of {total} bytes")

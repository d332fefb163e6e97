"""Damages files of every kind at random: ``python -m tests.scenes.files.fuzz [--reader .spz]
[--minutes 10] [--seed 0] [--out FOLDER]``.

Bytes, numbers, text and JSON trees are changed, of what is packed inside too, which is packed again
so that checksums hold; what reaches new lines of the readers is damaged further. A reader may give
a scene of finite numbers, or a FileError of one line that names the file. All else is a finding,
and kept: another error, a crash, a word on standard error, files written elsewhere, more than 10 s
or 1 GiB. Minutes are of processor time, so that a pause does not count. The files to begin with are
made in fuzz_seeds.py. Linux only."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random as randomness
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ |= {"PXR_WORK_THREAD_LIMIT": "1", "TF_ENV_SETTING_ALERTS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
from scenes.files import FileError
from tests.scenes.files.fuzz_seeds import OURS, PACKING, READERS, Pieces

SECONDS, MEMORY = 10, 1 << 30
NUMBERS = [0, 1, -1, 2, 3, 255, 65535, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**63 - 1, 2**63, 10**400]
NUMBERS += [0.5, -0.5, 1e-320, 1e38, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]
ODD = [*NUMBERS, None, True, "", "x", "é\n\u2028", "\ud800", "../../x", "/etc/passwd", [], {}, [[]]]
ODD += ["w" * 300_000, [0] * 5000, "DEEP", "LONG"]  # of which the last two become what no JSON library would write
UNWRITABLE = {b'"DEEP"': b"[" * 50_000 + b"]" * 50_000, b'"LONG"': b"9" * 5000}


def changed_tree(random: randomness.Random, tree: Any) -> bytes:
    """JSON with one to three places deleted, replaced, doubled, nudged or exchanged."""
    for _ in range(random.choice([1, 1, 2, 3])):
        places = [(tree, key) for key in (tree if isinstance(tree, dict) else range(len(tree)))]
        for parent, key in places:
            if isinstance(inner := parent[key], (dict, list)):
                places += [(inner, k) for k in (inner if isinstance(inner, dict) else range(min(len(inner), 40)))]
        if not places:
            break
        (parent, key), (other, name) = random.choice(places), random.choice(places)
        value, what = parent[key], random.randrange(8)
        if isinstance(value, str) and value[:1] == "{" and what:  # JSON within JSON
            parent[key] = changed_tree(random, json.loads(value)).decode(errors="surrogateescape")
        elif what == 0:
            del parent[key]
        elif what == 1 and isinstance(parent, list):
            parent.insert(0, json.loads(json.dumps(value)))
        elif what == 2:
            parent[key] = json.loads(json.dumps(other[name]))
        elif what == 3 and isinstance(value, int):
            parent[key] = value + random.choice([-1, 1, 4, -value - 1])
        elif what == 4 and isinstance(parent, dict):
            parent[str(random.choice(ODD))[:20]] = parent.pop(key)
        else:
            parent[key] = json.loads(json.dumps(random.choice(ODD)))
    data = json.dumps(tree).encode()
    for mark, value in UNWRITABLE.items():
        data = data.replace(mark, value)
    return data


def changed_bytes(random: randomness.Random, data: bytes, other: bytes) -> bytes:
    """Bytes with one to six places flipped, cut, doubled, exchanged with those of another file, or
    overwritten with odd numbers."""
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 3, 6])):
        # The beginning, where one byte changes the meaning of all others, gets half of the blows.
        at, size = (
            random.randrange((min(len(out), 100) if random.random() < 0.5 else len(out)) + 1),
            random.randrange(1, 40),
        )
        what = random.randrange(10)
        if what < 2:
            out[at : at + 1] = bytes([random.randrange(256)])
        elif what < 4:
            kind, value = random.choice(["<B", "<H", "<I", "<Q", ">I", "<f", "<d"]), random.choice(NUMBERS)
            bytes_ = struct.calcsize(kind)
            with contextlib.suppress(OverflowError, ValueError, struct.error):  # numbers that this kind does not have
                out[at : at + bytes_] = struct.pack(kind, value if kind[1] in "fd" else int(value) % 256**bytes_)
        elif what == 4:
            del out[at : at + size]
        elif what == 5:
            out[at:at] = out[(start := random.randrange(len(out) + 1)) : start + size] * random.choice(
                [1, 1, 2, 20_000]
            )
        elif what == 6:
            out[at : at + size] = other[at : at + size] if random.random() < 0.7 else other[at:]
        elif what == 7 and random.random() < 0.3:
            del out[at:]
        elif numbers := list(re.finditer(rb"-?\d+(?:\.\d+)?", out[:20_000])):
            place = random.choice(numbers)
            out[place.start() : place.end()] = str(random.choice(NUMBERS)).encode()
    return bytes(out)


def changed(random: randomness.Random, data: bytes, other: bytes) -> bytes:
    if random.random() < 0.7:
        for lines in ([data], data.splitlines()) if data[:1] == b"{" else ():  # JSON, or a line of JSON lines
            i = random.randrange(len(lines))
            try:
                lines[i] = changed_tree(random, json.loads(lines[i]))
                return b"\n".join(lines)
            except (ValueError, RecursionError):
                continue
    return changed_bytes(random, data, other)


def damaged(random: randomness.Random, name: str, data: bytes, other: bytes) -> bytes:
    """A file damaged as it is, or inside and packed again."""
    unpack, pack = PACKING.get(name, (lambda data: {"": data}, lambda pieces: pieces[""]))
    pieces: Pieces = {}
    if random.random() < 0.85:
        try:
            pieces, others = unpack(data), unpack(other)
        except Exception:  # damaged too much already
            pieces = {}
    if not pieces:
        return changed_bytes(random, data, other)
    for key in random.sample(sorted(pieces), 1 if random.random() < 0.8 else min(2, len(pieces))):
        pieces[key] = changed(random, pieces[key], others.get(key, b""))
    return pack(pieces)


def work(pipe: Connection, name: str, folder: Path) -> None:
    """Reads the files whose paths come in: what came of it, lines of the readers not seen before,
    processor time."""
    os.chdir(folder / "here")
    noise = os.open(folder / "stderr", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(noise, 2)
    for category in (UserWarning, RuntimeWarning, ResourceWarning):
        warnings.simplefilter("always", category)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen: set[tuple[str, int]] = set()
    new: set[tuple[str, int]] = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if event == "call":
            return trace if frame.f_code.co_filename.startswith(OURS) else None
        new.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    while path := pipe.recv():
        new.clear()
        began = sum(os.times()[:4])  # of child processes too
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # ends the process
        sys.settrace(trace)
        try:
            READERS[name][1](path)
            outcome = "read", ""
        except FileError as error:
            text = str(error)
            wrong = "\n" in text or str(path.parent) not in text or "MemoryError" in text or len(text) > 700
            outcome = ("wrong message" if wrong else "refused"), text
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if f.filename.startswith((*OURS, str(Path(__file__).parent)))][-1]
            outcome = f"{type(error).__name__} {Path(ours.filename).name}:{ours.lineno}", traceback.format_exc()[-4000:]
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if os.fstat(noise).st_size:
            words = (folder / "stderr").read_text(errors="replace")
            os.ftruncate(noise, 0)
            outcome = (
                ("standard error " + re.sub(r"\W|\d", "", words)[:60], words[:4000])
                if outcome[0] in ("read", "refused")
                else outcome
            )
        if os.listdir(folder / "here") or len(os.listdir(folder)) > 3:
            outcome = "files elsewhere", str([*os.listdir(folder), *os.listdir(folder / "here")])
        fresh, began = not new <= seen, sum(os.times()[:4]) - began
        seen |= new
        pipe.send((*outcome, fresh, began))


def fuzz(name: str, minutes: float, seed: int, out: Path) -> Counter[str]:
    """Counts of what came of the files; findings go to ``out``."""
    context, random = multiprocessing.get_context("fork"), randomness.Random(f"{name} {seed}")
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        for place in ("here", "files"):
            (folder / place).mkdir()
        kept = READERS[name][0](folder / "files")
        first, spent, began, worker, pipe = list(kept), 0.0, time.process_time(), None, None
        while first or spent + time.process_time() - began < 60 * minutes:
            if worker is None or not worker.is_alive():
                pipe, end = context.Pipe()
                worker = context.Process(target=work, args=(end, name, folder), daemon=True)
                worker.start()
                end.close()
            assert pipe is not None
            data = (
                first.pop()
                if (whole := bool(first))
                else damaged(random, name, random.choice(kept), random.choice(kept))
            )
            shutil.rmtree(folder / "files")
            (folder / "files").mkdir()
            path = folder / "files" / (f"case{name}" if name[0] == "." else name)
            path.write_bytes(data)
            pipe.send(path)
            waited, outcome, text, fresh, took = 0, "hang", "", False, 0.0
            while waited < 120 and not pipe.poll(1):  # by the second: a pause is not one
                waited += 1
            if waited < 120:
                try:
                    outcome, text, fresh, took = pipe.recv()
                except EOFError:
                    worker.join()
                    outcome, took = (
                        f"signal {-(worker.exitcode or 0)}",
                        SECONDS if worker.exitcode == -signal.SIGPROF else 0.1,
                    )
            else:
                worker.kill()
            if whole and outcome != "read":
                raise SystemExit(f"a whole {name} file is not read: {outcome} {text}")
            if outcome not in ("read", "refused"):
                stem = out / f"{name.strip('.')} {re.sub(r'[^a-zA-Z0-9.:]+', ' ', outcome)} {counts[outcome]}"
                if counts[outcome] < 3:
                    stem.with_name(stem.name + (name if name[0] == "." else "")).write_bytes(data)
                    stem.with_name(stem.name + ".txt").write_text(text)
            elif fresh and not whole and len(data) < 100_000:
                kept.append(data)
            counts[outcome] += 1
            spent += took
        if worker is not None:
            worker.kill()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=list(READERS), action="append")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.reader or READERS:
        counts = fuzz(name, arguments.minutes, arguments.seed, arguments.out)
        tried = counts.total()
        findings = {what: n for what, n in counts.most_common() if what not in ("read", "refused")}
        print(
            f"| {name} | {arguments.minutes:g} | {tried} | {counts['refused'] / tried:.0%} | {findings or 'none'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""``vlm``: a vision-language model scores how well an asset's views show the prompt (as GPTEval3D,
Wu et al., 2024).

The model is behind an OpenAI-compatible endpoint, by default on this machine (llama.cpp, vLLM,
Ollama, LM Studio serve one). An answer must be the requested JSON object, within limits of time and
size. Anything else counts as a failure. Answers are cached on disk."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import ipaddress
import json
import logging
import math
import os
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rewards.base import Batch, Needs, Scores
from scenes.files import FileError, atomic_write

HIGHEST = 10
INSTRUCTIONS = (
    "The picture shows one 3D asset from several sides, on white. It was made for this request:\n"
    "{prompt}\n"
    "Score from 0 to 10 how good it is as that asset. Is all of the request there, with the right colours, "
    "counts and places? Is the shape\nplausible from every side? Is nothing there that should not be? "
    "0 is not recognisable, 5 recognisable with clear faults, 10 faultless.\n"
    'Answer with nothing but JSON: {{"score": NUMBER}}'
)
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number", "minimum": 0, "maximum": HIGHEST}},
    "required": ["score"],
    "additionalProperties": False,
}
LARGEST_ANSWER = 1 << 20
"""Bytes. An answer has a few hundred; a longer one is cut off."""


class JudgeError(ValueError):
    """Why one asset has no score, in one line; ``again`` where another attempt may succeed."""

    def __init__(self, reason: str, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True)
class Endpoint:
    """Where the judge is and how long to wait for it. Each field is read from the environment
    variable ``RL3D_VLM_`` + its name."""

    model: str = ""
    """The model's name as its server knows it."""
    url: str = "http://127.0.0.1:8000/v1"
    key: str = ""
    """Sent as a bearer token; only over https or to this machine."""
    timeout: float = 60.0
    """Seconds for one attempt, from connecting to the last byte."""
    attempts: int = 3
    backoff: float = 0.5
    """Seconds before the second attempt; twice as many before each further one."""
    deadline: float = 600.0
    """Seconds for all assets of one batch together. What is not answered by then has failed."""
    parallel: int = 4
    """Requests at a time."""
    failure: str = "zero"
    """What a failed asset means: "zero" scores it 0, counts it as failed and says so; "stop" ends
    the run."""
    cache: Path = field(
        default_factory=lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rl3d" / "vlm"
    )
    """Folder of the answers, a file each."""

    def __post_init__(self) -> None:
        def refuse(name: str, what: str) -> NoReturn:
            raise ValueError(f"reward 'vlm': RL3D_VLM_{name.upper()} {what}")

        if not self.model.strip():
            refuse("model", f"is not set: name the model that {self.url} serves")
        host = _host(self.url)
        if host is None:
            refuse("url", f"must look like http://127.0.0.1:8000/v1, got {self.url!r}")
        if not self.model.isprintable():
            refuse("model", f"must be printable text, got {self.model!r}")
        if not (self.key.isascii() and self.key.isprintable()):
            refuse("key", "must be printable ASCII text")
        if self.key and self.url.startswith("http:") and not _is_loopback(host):
            refuse("key", f"would travel unencrypted to {host}: use https")
        for name in ("timeout", "deadline"):
            if not 0 < getattr(self, name) < math.inf:
                refuse(name, f"must be a positive number of seconds, got {getattr(self, name)}")
        if not 0 <= self.backoff < math.inf:
            refuse("backoff", f"must be a number of seconds that is not negative, got {self.backoff}")
        for name in ("attempts", "parallel"):
            if not 1 <= getattr(self, name) <= 64:
                refuse(name, f"must be from 1 to 64, got {getattr(self, name)}")
        if self.failure not in ("zero", "stop"):
            refuse("failure", f"must be zero or stop, got {self.failure!r}")

    @staticmethod
    def from_environment() -> Endpoint:
        given: dict[str, Any] = {}
        for one in fields(Endpoint):
            variable = f"RL3D_VLM_{one.name.upper()}"
            if text := os.environ.get(variable):
                kind = {"float": float, "int": int, "Path": Path}.get(str(one.type), str)
                try:
                    given[one.name] = kind(text)
                except ValueError:
                    raise ValueError(f"reward 'vlm': {variable} must be a number, got {text!r}") from None
        return Endpoint(**given)


class VLMJudge:
    """The model's score from 0 to 10, divided by 10: 0.5 is "recognisable with clear faults"."""

    name = "vlm"
    needs = Needs(cameras=4, size=256)

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        self.endpoint = endpoint or Endpoint.from_environment()
        asked = hashlib.sha256(INSTRUCTIONS.encode()).hexdigest()[:8]
        self.version = f"1+{asked}+{self.endpoint.model}"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        views = batch.need_views(self.needs).rgb
        deadline, stopped = time.monotonic() + self.endpoint.deadline, threading.Event()
        questions: dict[str, tuple[UInt8[Tensor, "h w 3"], str] | None] = {}
        keys = []
        for rgb, prompt in zip(views, batch.prompts):
            finite = bool(rgb.isfinite().all())
            sheet = contact_sheet(rgb) if finite else None
            keys.append(self._key(sheet, prompt) if sheet is not None else "")
            questions[keys[-1]] = (sheet, prompt) if sheet is not None else None
        with ThreadPoolExecutor(self.endpoint.parallel) as pool:
            try:
                answers = dict(
                    zip(questions, pool.map(lambda key: self._score(key, questions[key], deadline, stopped), questions))
                )
            except BaseException:
                stopped.set()  # also end requests under way after an interrupt or a full disk
                raise
        reasons = Counter(str(answers[key]) for key in keys if isinstance(answers[key], JudgeError))
        if failed := sum(reasons.values()):
            why = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
            line = f"reward 'vlm': {failed} of {len(keys)} assets could not be judged by {self.endpoint.url}: {why}"
            if self.endpoint.failure == "stop":
                raise ValueError(line)
            logging.getLogger(__name__).warning("%s; they score 0", line)
        numbers = [0.0 if isinstance(answer := answers[key], JudgeError) else answer / HIGHEST for key in keys]
        return Scores(torch.tensor(numbers, dtype=torch.float32), failed=failed)

    def _key(self, sheet: UInt8[Tensor, "h w 3"], prompt: str) -> str:
        """Names an answer: the pixels, the question with its prompt, and the model."""
        whole = hashlib.sha256()
        for part in (
            str(tuple(sheet.shape)).encode(),
            sheet.numpy().tobytes(),
            _question(prompt).encode(errors="backslashreplace"),
            self.endpoint.model.encode(),
        ):
            whole.update(hashlib.sha256(part).digest())
        return whole.hexdigest()

    def _score(
        self, key: str, question: tuple[UInt8[Tensor, "h w 3"], str] | None, deadline: float, stopped: threading.Event
    ) -> float | JudgeError:
        """The score from 0 to 10, from the cache or the endpoint, or why there is none."""
        if question is None:
            return JudgeError("its views are not finite numbers")
        path = self.endpoint.cache / f"{key}.json"
        if (known := _cached(path)) is not None:
            return known
        body = _request(self.endpoint.model, *question)
        failure = JudgeError(f"no time left of the {self.endpoint.deadline:g} s for a batch")
        for attempt in range(self.endpoint.attempts):
            if attempt:
                stopped.wait(max(0.0, min(self.endpoint.backoff * 2 ** (attempt - 1), deadline - time.monotonic())))
            left = min(self.endpoint.timeout, deadline - time.monotonic())
            if stopped.is_set():
                return JudgeError("not asked, because the run stops")
            if left <= 0:
                break
            try:
                score = parse_answer(_post(self.endpoint, body, left, stopped))
            except JudgeError as error:
                failure = error
                if not error.again:
                    break
                continue
            with atomic_write(path) as temporary:
                temporary.write_text(
                    json.dumps({"score": score, "model": self.endpoint.model, "prompt": question[1]}), encoding="utf-8"
                )
            return score
        if self.endpoint.failure == "stop":
            stopped.set()  # the others need not be asked
        return failure


def contact_sheet(rgb: Float[Tensor, "c h w 3"]) -> UInt8[Tensor, "rows columns 3"]:
    """The views of one asset on one white sheet, in reading order, as bytes."""
    count, height, width, _ = rgb.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = torch.full((rows * height, columns * width, 3), 255, dtype=torch.uint8)
    pixels = (rgb.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    for i, view in enumerate(pixels):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = view
    return sheet


def parse_answer(response: bytes) -> float:
    """The score in a chat completion. JudgeError unless the message is exactly a JSON object with a
    finite "score" from 0 to 10."""
    try:
        choice = json.loads(response)["choices"][0]
        content = choice["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise JudgeError("what it sent is not a chat completion") from error
    if not isinstance(content, str):
        raise JudgeError("its answer is not text")
    try:
        # Objects are parsed to tuples of pairs, so that a repeated name is detected.
        answer = json.loads(content, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise JudgeError("its answer is not the JSON asked for") from error
    if not isinstance(answer, tuple) or len(answer) != 1 or answer[0][0] != "score":
        raise JudgeError("its answer is not the JSON asked for")
    score = answer[0][1]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= HIGHEST:
        raise JudgeError(f"its score is not a number from 0 to {HIGHEST}")
    return float(score)


def _question(prompt: str) -> str:
    return INSTRUCTIONS.format(prompt=json.dumps(prompt, ensure_ascii=False))


def _request(model: str, sheet: UInt8[Tensor, "h w 3"], prompt: str) -> bytes:
    """The body of a chat completion that asks for a score of the sheet."""
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(sheet.numpy()).save(png, format="PNG")
    picture = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    content = [{"type": "text", "text": _question(prompt)}, {"type": "image_url", "image_url": {"url": picture}}]
    schema = {"name": "score", "strict": True, "schema": SCHEMA}
    return json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": 0,
            "max_tokens": 256,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
    ).encode()


def _post(endpoint: Endpoint, body: bytes, seconds: float, stopped: threading.Event) -> bytes:
    """Send a request and return the answer of status 200, all within ``seconds``. Redirects are not
    followed. Raises JudgeError."""
    parts = urlsplit(endpoint.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    assert parts.hostname is not None
    connection = kind(parts.hostname, parts.port, timeout=seconds)
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    done, late = threading.Event(), threading.Event()
    lines: list[socket.socket] = []  # the connection forgets its socket once the answer begins

    def watch() -> None:
        """A socket's own timeout restarts with every byte. This closes the connection to a server
        that answers too slowly, and when the run stops."""
        end = time.monotonic() + seconds
        while not done.wait(max(0.0, min(0.1, end - time.monotonic()))):
            if stopped.is_set() or time.monotonic() >= end:
                late.set()
                _hang_up(lines)
                return

    def given_up() -> JudgeError:
        return JudgeError(
            "not asked, because the run stops" if stopped.is_set() else f"no answer within {seconds:.3g} s"
        )

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        connection.connect()
        assert connection.sock is not None
        lines.append(connection.sock)
        if late.is_set():
            raise TimeoutError
        connection.request("POST", parts.path.rstrip("/") + "/chat/completions", body, headers)
        response = connection.getresponse()
        # Reading one byte more than allowed detects a long answer. A short one raises
        # IncompleteRead if its length was announced.
        answer = (
            response.read(LARGEST_ANSWER + 1)
            if response.length is None or response.length > LARGEST_ANSWER
            else response.read()
        )
    except (OSError, http.client.HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise given_up() from error
        if isinstance(error, http.client.IncompleteRead):
            raise JudgeError("the answer broke off") from error
        text = getattr(error, "strerror", None) or type(error).__name__
        raise JudgeError(f"the connection failed ({_one_line(text)})") from error
    finally:
        done.set()
        watcher.join()
        _hang_up(lines)  # before the rest of an answer that is too long
        connection.close()
    if late.is_set():
        raise given_up()
    if response.status != 200:
        detail = _one_line(answer[:1000].decode(errors="replace"))
        busy = response.status in (408, 409, 425, 429) or response.status >= 500
        raise JudgeError(f"status {response.status}: {detail or 'no explanation'}", again=busy)
    if len(answer) > LARGEST_ANSWER:
        raise JudgeError(f"an answer of more than {LARGEST_ANSWER >> 20} MiB")
    return answer


def _hang_up(lines: list[socket.socket]) -> None:
    for line in lines:
        with contextlib.suppress(OSError):  # it is closed already
            line.shutdown(socket.SHUT_RDWR)


def _cached(path: Path) -> float | None:
    """The score kept in a file, or None: no file, or not one that was written here."""
    try:
        kept = json.loads(path.read_bytes())
        score = kept["score"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return float(score) if isinstance(score, float) and 0 <= score <= HIGHEST else None


def _host(url: str) -> str | None:
    """The host of a base URL; None if it is not a URL, or if it has more than a path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    plain = (
        url.isascii()
        and url.isprintable()
        and " " not in url
        and not (parts.query or parts.fragment or parts.username or port == 0)
    )
    return parts.hostname if plain and parts.scheme in ("http", "https") else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _one_line(text: str) -> str:
    """At most 200 printable characters of untrusted text, safe for a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]

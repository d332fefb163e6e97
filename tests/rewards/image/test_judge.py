"""The judge against a real server on this machine that answers, hangs, answers too slowly, sends
invalid answers, stops midway, and recovers."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from rewards import resolve
from rewards.image.judge import Endpoint, JudgeError, VLMJudge, contact_sheet, parse_answer
from rewards.mix import score

PROMPTS = ["a red chair", "two blue cars", "a tower"]


def completion(content: object) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def says(content: object) -> Callable:
    return lambda handler, stop: send(handler, completion(content))


def scores(number: float) -> Callable:
    return says(json.dumps({"score": number}))


def hangs(handler, stop):
    stop.wait(20)


def trickles(handler, stop):
    handler.send_response(200)
    handler.end_headers()
    while not stop.wait(0.05):
        handler.wfile.write(b" ")


def trickles_headers(handler, stop):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
    while not stop.wait(0.05):
        handler.wfile.write(b"X")


def dies_midway(handler, stop):
    body = completion('{"score": 9}')
    send(handler, body[: len(body) // 2], length=len(body))


def dies_midway_without_a_length(handler, stop):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(completion('{"score": 9}')[:-20])


def dies_midway_in_chunks(handler, stop):
    handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + completion('{"score": 9}')[:40]
    )


def says_nothing(handler, stop):
    pass


def talks_without_end(handler, stop):
    handler.send_response(200)
    handler.end_headers()
    while not stop.is_set():
        handler.wfile.write(b" " * 65536)


def redirects(handler, stop):
    handler.send_response(307)
    handler.send_header("Location", "http://127.0.0.1:9/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def refuses(handler, stop):
    send(handler, b"no such model\n\x1b[31mred\nlines", status=404)


def is_broken(handler, stop):
    send(handler, b"out of memory", status=500)


@pytest.fixture
def server():
    """Starts a server that does one of ``behaviours`` for each request in turn, the last of them
    for all further ones."""
    running = []
    stop = threading.Event()

    def start(*behaviours: Callable) -> tuple[str, list]:
        requests: list = []
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    behaviour = behaviours[min(len(requests), len(behaviours) - 1)]
                    requests.append((self.path, dict(self.headers), json.loads(body)))
                with contextlib.suppress(OSError):  # the judge has hung up
                    behaviour(self, stop)

            def log_message(self, *_):
                pass

        one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        one.daemon_threads = True
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(one)
        return f"http://127.0.0.1:{one.server_address[1]}/v1", requests

    yield start
    stop.set()
    for one in running:
        one.shutdown()
        one.server_close()


@pytest.fixture
def judge(tmp_path):
    def make(url: str, **changes) -> VLMJudge:
        settings = {"model": "tiny-vlm", "timeout": 5.0, "attempts": 1, "backoff": 0.01, "cache": tmp_path / "answers"}
        return VLMJudge(Endpoint(url=url, **(settings | changes)))

    return make


def test_the_judge_sees_every_view_and_the_prompt(server, judge, batch_of, pictures):
    url, requests = server(scores(7.5))
    prompt = 'a "red" chair, 椅子 {score} %s'
    result = score([judge(url, key="secret")], batch_of(pictures[:1], [prompt]))["vlm"]
    assert result.values.tolist() == [0.75] and result.failed == 0
    ((path, headers, body),) = requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret"
    assert body["model"] == "tiny-vlm" and body["temperature"] == 0
    assert body["response_format"]["json_schema"]["schema"]["additionalProperties"] is False
    text, picture = body["messages"][0]["content"]
    assert json.dumps(prompt, ensure_ascii=False) in text["text"] and '{"score": NUMBER}' in text["text"]
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.array_equal(seen, contact_sheet(pictures[0]).numpy())


def test_a_contact_sheet_holds_the_views_in_reading_order():
    views = torch.linspace(0, 1, 3)[:, None, None, None].expand(3, 4, 5, 3)
    sheet = contact_sheet(views)
    assert sheet.shape == (8, 10, 3)
    corners = sheet.unflatten(0, (2, 4)).unflatten(2, (2, 5))[:, 0, :, 0, 0]
    assert corners.tolist() == [[0, 128], [255, 255]]
    assert contact_sheet(torch.full((1, 2, 2, 3), 7.0)).eq(255).all()


def test_order_does_not_matter_and_equal_assets_are_asked_about_once(server, judge, batch_of, pictures):
    def knows_cars(handler, stop):
        about_cars = "car" in requests[-1][2]["messages"][0]["content"][0]["text"]
        scores(5.0 if about_cars else 8.0)(handler, stop)

    url, requests = server(knows_cars)
    twice = [0, 1, 2, 1]
    values = judge(url, parallel=1)(batch_of(pictures[twice], [PROMPTS[i] for i in twice])).values
    assert values.tolist() == pytest.approx([0.8, 0.5, 0.8, 0.5]) and len(requests) == 3
    order = [2, 1, 0]
    again = judge(url)(batch_of(pictures[order], [PROMPTS[i] for i in order]))
    assert again.values.tolist() == pytest.approx([0.8, 0.5, 0.8]) and len(requests) == 3


def test_answers_are_kept_by_pixels_prompt_and_model(server, judge, batch_of, pictures, tmp_path):
    url, requests = server(scores(3))
    judge(url)(batch_of(pictures[:1], ["a ../../../etc/passwd"]))
    (kept,) = (tmp_path / "answers").iterdir()
    assert len(kept.stem) == 64 and json.loads(kept.read_text())["score"] == 3
    for batch, model in (
        (batch_of(pictures[:1], ["another"]), "tiny-vlm"),
        (batch_of(pictures[1:2], ["another"]), "tiny-vlm"),
        (batch_of(pictures[1:2], ["another"]), "other-vlm"),
    ):
        before = len(requests)
        for _ in range(2):
            assert judge(url, model=model)(batch).values.tolist() == pytest.approx([0.3])
        assert len(requests) == before + 1
    for damage in ('{"score": 3', '{"score": 11.0}', '{"score": "3"}', "[]", '{"score": NaN}'):
        kept.write_text(damage)
        before = len(requests)
        assert judge(url)(batch_of(pictures[:1], ["a ../../../etc/passwd"])).values.tolist() == pytest.approx([0.3])
        assert len(requests) == before + 1


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (hangs, "no answer within 0.3 s"),
        (trickles, "no answer within 0.3 s"),
        (trickles_headers, "no answer within 0.3 s"),
        (dies_midway, "the answer broke off"),
        (dies_midway_without_a_length, "what it sent is not a chat completion"),
        (dies_midway_in_chunks, "the answer broke off"),
        (says_nothing, "the connection failed (RemoteDisconnected)"),
        (talks_without_end, "an answer of more than 1 MiB"),
        (redirects, "status 307: no explanation"),
        (refuses, "status 404: no such model [31mred lines"),
        (is_broken, "status 500: out of memory"),
        (says("Seven, I would say."), "its answer is not the JSON asked for"),
        (says('{"score": 11}'), "its score is not a number from 0 to 10"),
        (says(None), "its answer is not text"),
    ],
)
def test_an_asset_without_a_proper_answer_scores_0_and_is_counted(
    server, judge, batch_of, pictures, tmp_path, caplog, behaviour, reason
):
    url, _ = server(behaviour)
    timeout = 0.3 if "within" in reason else 5.0
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        result = judge(url, timeout=timeout)(batch_of(pictures[:2], PROMPTS[:2]))
    assert time.monotonic() - start < 4
    assert result.values.tolist() == [0, 0] and result.failed == 2
    (record,) = caplog.records
    expected = f"reward 'vlm': 2 of 2 assets could not be judged by {url}: 2 x {reason}; they score 0"
    assert record.getMessage() == expected
    assert not (tmp_path / "answers").exists()  # a failure is not an answer to keep


def test_a_refused_connection_is_a_failure(judge, batch_of, pictures, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        result = judge(url)(batch_of(pictures[:1], ["a"]))
    assert result.failed == 1 and "1 x the connection failed (Connection refused)" in caplog.text


def test_a_failure_stops_the_run_where_that_is_asked(server, judge, batch_of, pictures):
    url, requests = server(scores(5), is_broken)
    with pytest.raises(
        ValueError, match=r"^reward 'vlm': 2 of 3 assets could not be judged by .*: .*1 x status 500: out of memory"
    ) as caught:
        judge(url, failure="stop", parallel=1)(batch_of(pictures, PROMPTS))
    assert "\n" not in str(caught.value) and len(requests) == 2  # the third was not asked any more


def test_temporary_failures_are_tried_again(server, judge, batch_of, pictures):
    url, requests = server(is_broken, dies_midway, says("hm"), scores(6))
    assert judge(url, attempts=4)(batch_of(pictures[:1], ["a"])).values.tolist() == pytest.approx([0.6])
    assert len(requests) == 4
    url, requests = server(refuses, scores(6))
    assert judge(url, attempts=4)(batch_of(pictures[:1], ["b"])).failed == 1
    assert len(requests) == 1


def test_a_batch_has_a_deadline(server, judge, batch_of, pictures, caplog):
    url, requests = server(hangs)
    start = time.monotonic()
    result = judge(url, attempts=50, timeout=5.0, deadline=0.4, parallel=1)(batch_of(pictures, PROMPTS))
    assert time.monotonic() - start < 3 and result.failed == 3 and len(requests) == 1
    assert "2 x no time left of the 0.4 s for a batch" in caplog.text


def test_an_interrupt_ends_what_is_under_way(server, judge, batch_of, pictures):
    url, _ = server(hangs)
    # Jobs in the background begin with interrupts ignored, and so would the tests.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            judge(url, timeout=15.0)(batch_of(pictures, PROMPTS))
        assert time.monotonic() - start < 3
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_sound_asset_keeps_its_score_beside_a_failed_one(server, judge, batch_of, pictures, caplog):
    url, requests = server(scores(4))
    broken = pictures.clone()
    broken[1, 0, 0, 0, 0] = torch.inf
    result = judge(url)(batch_of(broken, PROMPTS))
    assert result.values.tolist() == pytest.approx([0.4, 0, 0.4]) and result.failed == 1 and len(requests) == 2
    assert "1 of 3" in caplog.text and "its views are not finite numbers" in caplog.text


def test_a_cache_that_cannot_be_written_ends_the_run(server, judge, batch_of, pictures, tmp_path):
    (tmp_path / "answers").write_text("a file, not a folder")
    url, _ = server(scores(4))
    with pytest.raises(ValueError, match="answers"):
        judge(url)(batch_of(pictures, PROMPTS))


@pytest.mark.parametrize("number", ["0", "10", "7.25", "1e1"])
def test_scores_that_are_read(number):
    assert parse_answer(completion(f' {{"score": {number}}}\n')) == float(number)


@pytest.mark.parametrize(
    "content",
    [
        "7",
        '"7"',
        "[]",
        '[["score", 7]]',
        "{}",
        '{"score": "7"}',
        '{"score": true}',
        '{"score": null}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"score": -0.1}',
        '{"score": 10.01}',
        '{"score": [7]}',
        '{"score": {"score": 7}}',
        '{"Score": 7}',
        '{"score": 7, "why": "good"}',
        '{"score": 7, "score": 1}',
        '{"score": 7} done',
        '```json\n{"score": 7}\n```',
        '{"score": 7',
        "[" * 100_000,
        '{"score": ' + "9" * 5000 + "}",
        "",
        7,
        None,
        [{"type": "text", "text": '{"score": 7}'}],
    ],
)
def test_any_other_answer_is_a_failure(content):
    with pytest.raises(JudgeError):
        parse_answer(completion(content))


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": null}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_no_completion_is_a_failure(response):
    with pytest.raises(JudgeError):
        parse_answer(response)


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    for name, value in {
        "MODEL": "m",
        "URL": "https://judge.example/api/v1/",
        "KEY": "k",
        "TIMEOUT": "2.5",
        "ATTEMPTS": "5",
        "FAILURE": "stop",
        "CACHE": str(tmp_path),
    }.items():
        monkeypatch.setenv(f"RL3D_VLM_{name}", value)
    reward = resolve("vlm")
    expected = Endpoint(
        "m", "https://judge.example/api/v1/", "k", timeout=2.5, attempts=5, failure="stop", cache=tmp_path
    )
    assert reward.endpoint == expected and reward.version.endswith("+m")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MODEL", "", "RL3D_VLM_MODEL is not set: name the model that http://127.0.0.1:8000/v1 serves"),
        ("MODEL", "a\nb", "RL3D_VLM_MODEL must be printable text"),
        ("URL", "127.0.0.1:8000", "RL3D_VLM_URL must look like http://127.0.0.1:8000/v1, got '127.0.0.1:8000'"),
        ("URL", "file:///etc/passwd", "RL3D_VLM_URL must look like"),
        ("URL", "http://a:99999/v1", "RL3D_VLM_URL must look like"),
        ("URL", "http://user:secret@a/v1", "RL3D_VLM_URL must look like"),
        ("URL", "http://a/v1\r\nX: y", "RL3D_VLM_URL must look like"),
        ("KEY", "a\r\nX: y", "RL3D_VLM_KEY must be printable ASCII text"),
        ("TIMEOUT", "soon", "RL3D_VLM_TIMEOUT must be a number, got 'soon'"),
        ("TIMEOUT", "0", "RL3D_VLM_TIMEOUT must be a positive number of seconds, got 0.0"),
        ("DEADLINE", "nan", "RL3D_VLM_DEADLINE must be a positive number of seconds, got nan"),
        ("BACKOFF", "-1", "RL3D_VLM_BACKOFF must be a number of seconds that is not negative, got -1.0"),
        ("ATTEMPTS", "0", "RL3D_VLM_ATTEMPTS must be from 1 to 64, got 0"),
        ("PARALLEL", "1000", "RL3D_VLM_PARALLEL must be from 1 to 64, got 1000"),
        ("FAILURE", "ignore", "RL3D_VLM_FAILURE must be zero or stop, got 'ignore'"),
    ],
)
def test_settings_that_are_none_get_one_line(monkeypatch, variable, value, message):
    monkeypatch.setenv("RL3D_VLM_MODEL", "m")
    monkeypatch.setenv(f"RL3D_VLM_{variable}", value)
    with pytest.raises(ValueError, match=r"^reward 'vlm': ") as caught:
        resolve("vlm")
    assert message in str(caught.value)


def test_a_key_does_not_travel_unencrypted():
    with pytest.raises(ValueError, match=r"RL3D_VLM_KEY would travel unencrypted to judge\.example: use https"):
        Endpoint("m", "http://judge.example/v1", "k")
    for url in ("http://localhost:1/v1", "http://[::1]:1/v1", "https://judge.example/v1"):
        Endpoint("m", url, "k")

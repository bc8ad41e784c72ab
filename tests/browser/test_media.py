"""A recording that is opened by its link plays and seeks. The dashboard works under another path, behind
a proxy.
"""

from __future__ import annotations

import base64
import os
import pwd
import struct
import subprocess
from pathlib import Path

from playwright.sync_api import Page, expect

from services.engines.objects.development import free_ports
from tests.browser.conftest import Visit
from tests.browser.pages import names
from tests.support.processes import Server, wait_for
from tests.support.programs import need

_RATE = 44_100
_SECONDS = 300  # 50 MiB: far more than a browser reads ahead
# A recording of a canvas for one second, as base64, since the browser is the only encoder here.
_RECORD = """async () => {
    const canvas = document.createElement('canvas'), context = canvas.getContext('2d');
    canvas.width = 64; canvas.height = 48;
    const recorder = new MediaRecorder(canvas.captureStream(25), {mimeType: 'video/webm;codecs=vp8'});
    const pieces = [];
    recorder.ondataavailable = event => pieces.push(event.data);
    const ended = new Promise(done => recorder.onstop = done);
    let n = 0;
    const timer = setInterval(() => context.fillRect(n++ % 60, 0, 9, 48), 30);
    recorder.start(100);
    await new Promise(done => setTimeout(done, 1000));
    recorder.stop();
    await ended;
    clearInterval(timer);
    const reader = new FileReader();
    reader.readAsDataURL(new Blob(pieces));
    await new Promise(done => reader.onload = done);
    return reader.result.split(',')[1];
}"""


def wav() -> bytes:
    """Silence of this length."""
    data = bytes(_RATE * 4 * _SECONDS)
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, _RATE, _RATE * 4, 4, 16)
    head += struct.pack("<4sI", b"data", len(data))
    return struct.pack("<4sI4s", b"RIFF", 4 + len(head) + len(data), b"WAVE") + head + data


def plays(page: Page, until_s: float) -> None:
    """The recording goes on to `until_s`."""
    video = page.locator("video")
    video.evaluate("v => { v.muted = true; v.play(); }")
    wait_for(lambda: video.evaluate("v => v.currentTime") >= until_s, what=f"second {until_s:g}")


def test_a_recording_plays_and_seeks(visit: Visit, server: Server) -> None:
    page = visit.page
    assert server.ask("POST", "/store/a.wav", wav(), {"Content-Type": "audio/wav"}).status == 201
    ranges: list[str] = []
    page.on("response", lambda got: ranges.append(got.headers.get("content-range", "")))
    page.goto(f"http://127.0.0.1:{server.port}/store/a.wav")
    plays(page, 0.1)
    assert page.locator("video").evaluate("v => v.duration") == _SECONDS
    page.locator("video").evaluate(f"v => {{ v.currentTime = {_SECONDS - 20}; }}")
    plays(page, _SECONDS - 19.9)
    firsts = [int(one.partition(" ")[2].partition("-")[0]) for one in ranges if one.startswith("bytes ")]
    assert max(firsts) > len(wav()) // 2  # it did not read the part that it skipped

    page.goto(f"http://127.0.0.1:{server.port}/")
    body = base64.b64decode(page.evaluate(_RECORD))
    assert server.ask("POST", "/store/v.webm", body, {"Content-Type": "video/webm"}).status == 201
    page.goto(f"http://127.0.0.1:{server.port}/store/v.webm")
    plays(page, 0.2)
    assert page.locator("video").evaluate("v => v.videoWidth") == 64


def test_the_dashboard_under_a_path_of_a_proxy(visit: Visit, server: Server, tmp_path: Path) -> None:
    """A proxy that serves Blobkeep beside other sites."""
    program = need("nginx")
    (port,) = free_ports(1)
    user = f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.getuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; {user} pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off;"
        + "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi"))
        + f"uwsgi_temp_path {tmp_path}/uwsgi; scgi_temp_path {tmp_path}/scgi;"
        f"server {{ listen 127.0.0.1:{port}; location /bk/ {{ proxy_pass http://127.0.0.1:{server.port}/;"
        "proxy_http_version 1.1; proxy_buffering off; proxy_set_header Host $http_host;"
        "proxy_set_header X-Forwarded-Prefix /bk; } } }"
    )
    assert server.ask("POST", "/store/a/b.txt", b"x").status == 201
    nginx = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    try:
        page = visit.page

        def shown() -> bool:
            try:
                page.goto(f"http://127.0.0.1:{port}/bk/")
            except Exception:  # noqa: BLE001 - playwright's own, while nobody listens
                return False
            return True

        wait_for(shown, what="nginx")
        expect(page.locator("#process-server .word")).to_have_text("Running")
        page.goto(f"http://127.0.0.1:{port}/bk/#/blobs/a/")
        expect(page.locator("#listing .name a")).to_have_count(1)
        assert names(page) == ["b.txt"]
        created = page.evaluate(
            "fetch('store/new', {method: 'POST', body: 'x'}).then(r => [r.status, r.headers.get('Location')])"
        )
        assert created == [201, "/bk/store/new"]
        assert page.request.get(f"http://127.0.0.1:{port}{created[1]}").text() == "x"
        page.goto(f"http://127.0.0.1:{port}/bk/store/a/")
        page.get_by_role("link", name="b.txt").click()
        expect(page.locator("body")).to_have_text("x")
    finally:
        nginx.terminate()
        nginx.wait(60)

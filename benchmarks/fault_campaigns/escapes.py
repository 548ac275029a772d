"""Files and names that make FFmpeg open something else: each succeeds outside (its control), and none in the jail.

    control     av.open in a forked child, as liberal as a careless program would be: the foreign picture is decoded, a
                connection is made, a socket is bound, or it never ends
    in the jail a MediaError within seconds, no connection, no foreign picture
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np

from autoreel.errors import MediaError
from autoreel.media.decode import Limits, first_frame, read_sound

SECRET = (20, 200, 90)  # the colour of every picture of the foreign film
CONTROL_S = 3.0  # after this a control counts as one that never ends
LIMITS = Limits(wall_s=20.0, cpu_s=10, memory_bytes=1 << 30)
LIBERAL = {
    "protocol_whitelist":
        "file,http,tcp,udp,rtp,crypto,data,subfile,concat,concatf,async,cache,unix,ftp,gopher,rtmp,pipe,fd",
    "allowed_extensions": "ALL", "allowed_segment_extensions": "ALL", "extension_picky": "0", "safe": "0",
}  # fmt: skip


@dataclass(frozen=True)
class Escape:
    """One attack.

    Args:
        name: what it is.
        target: a path, or a text that is opened as if it were one.
        format: forced in the control only; FFmpeg would guess it from a name.
        options: of the control beside LIBERAL.
    """

    name: str
    target: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)


class Listener:
    """A server on this machine that gives the foreign film to everybody and counts who comes."""

    def __init__(self, content: bytes) -> None:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.num_visits += 1
                if "redirect" in self.path:
                    self.send_response(302)
                    self.send_header("Location", "/secret.ts")
                    self.end_headers()
                    return
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(b"0123456789abcdef" if "key" in self.path else content)
                        if "endless" not in self.path:
                            return
                except OSError:
                    return

            def log_message(self, format: str, *arguments: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            def get_request(self) -> Any:
                listener.num_connections += 1
                return super().get_request()

            def handle_error(self, request: Any, client_address: Any) -> None:
                return

        self.num_visits = self.num_connections = 0
        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def make_secret(folder: Path) -> dict[str, Path]:
    """The foreign film in several formats, in a folder of its own."""
    folder.mkdir()
    made = {}
    picture = np.full((32, 32, 3), SECRET, np.uint8)
    for name, codec in (("secret.ts", "mpeg2video"), ("secret.mp4", "mpeg4"), ("secret1.png", "png")):
        with av.open(str(folder / name), "w", format="image2" if codec == "png" else None) as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height = 32, 32
            stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
            for _ in range(1 if codec == "png" else 25):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        made[name] = folder / name
    return made


def is_secret(picture: Any) -> bool:
    """Whether this is a picture of the foreign film."""
    return bool(np.abs(np.asarray(picture).reshape(-1, 3).mean(axis=0) - SECRET).max() < 15)


PLAYLISTS = {
    "a path": "#EXTINF:1,\n{ts}\n#EXT-X-ENDLIST\n",
    "a name beside it": "#EXTINF:1,\n../secret/secret.ts\n#EXT-X-ENDLIST\n",
    "a file address": "#EXTINF:1,\nfile://{ts}\n#EXT-X-ENDLIST\n",
    "a byte range": "#EXT-X-VERSION:4\n#EXTINF:1,\n#EXT-X-BYTERANGE:1000000@0\n{ts}\n#EXT-X-ENDLIST\n",
    "an address": "#EXTINF:1,\nhttp://127.0.0.1:{port}/secret.ts\n#EXT-X-ENDLIST\n",
    "an address that leads on": "#EXTINF:1,\nhttp://127.0.0.1:{port}/redirect.ts\n#EXT-X-ENDLIST\n",
    "an address that never ends": "#EXTINF:1,\nhttp://127.0.0.1:{port}/endless.ts\n#EXT-X-ENDLIST\n",
    "a key by address": '#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:{port}/key"\n#EXTINF:1,\n{ts}\n#EXT-X-ENDLIST\n',
    "a beginning by address": '#EXT-X-MAP:URI="http://127.0.0.1:{port}/secret.mp4"\n#EXTINF:1,\n{ts}\n#EXT-X-ENDLIST\n',
    "another playlist": "#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:{port}/inner.m3u8\n",
    "sound by address": (
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="http://127.0.0.1:{port}/a.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nhttp://127.0.0.1:{port}/inner.m3u8\n'
    ),
    "no end": "#EXTINF:1,\nhttp://127.0.0.1:{port}/endless.ts\n",
}
CONCATS = {
    "a name beside it": "file ../secret/secret.ts\n",
    "a path": "file '{ts}'\n",
    "a file address": "file file:{ts}\n",
    "an address": "file http://127.0.0.1:{port}/secret.ts\n",
    "a part of a path": "file '{ts}'\ninpoint 0.1\noutpoint 0.5\n",
    "itself and a path": "file '{ts}'\nfile '{self}'\n",
}
SDPS = {
    "a picture stream": "m=video {udp} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "a sound stream": "m=audio {udp} RTP/AVP 0\n",
    "both": "m=video {udp} RTP/AVP 96\na=rtpmap:96 H264/90000\nm=audio {udp2} RTP/AVP 0\n",
    "many receivers": "c=IN IP4 239.255.0.1/1\nm=video {udp} RTP/AVP 33\n",
}
NAMES = (
    "http://127.0.0.1:{port}/secret.ts", "http://127.0.0.1:{port}/redirect", "http://127.0.0.1:{port}/endless",
    "tcp://127.0.0.1:{port}", "file:{ts}", "file://{ts}", "concat:{ts}|{ts}", "subfile,,start,0,end,100000,,:{ts}",
    "async:{ts}", "cache:{ts}", "async:http://127.0.0.1:{port}/secret.ts", "cache:http://127.0.0.1:{port}/secret.ts",
    "concatf:{list}", "ftp://127.0.0.1:{port}/secret.ts", "gopher://127.0.0.1:{port}/secret.ts",
    "rtmp://127.0.0.1:{port}/live/x", "udp://127.0.0.1:{udp}", "rtp://127.0.0.1:{udp}", "rtsp://127.0.0.1:{port}/x",
    "concat:http://127.0.0.1:{port}/secret.ts|{ts}", "subfile,,start,0,end,100000,,:http://127.0.0.1:{port}/secret.ts",
    "async:cache:{ts}", "cache:subfile,,start,0,end,100000,,:{ts}", "concat:async:{ts}|file:{ts}",
)  # fmt: skip


def escapes(work: Path, secret: dict[str, Path], port: int) -> Iterator[Escape]:
    """Every attack, its file written."""
    folder = work / "upload"
    folder.mkdir()
    udp = 20000 + os.getpid() % 20000 // 2 * 2
    (work / "list.txt").write_text(f"{secret['secret.ts']}\n")
    words = {"ts": secret["secret.ts"], "port": port, "udp": udp, "udp2": udp + 4, "list": work / "list.txt"}
    for what, text in PLAYLISTS.items():
        for suffix in (".m3u8", ".mp4", ".mkv"):
            path = folder / f"playlist-{len(os.listdir(folder))}{suffix}"
            path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n" + text.format(**words))
            yield Escape(f"playlist with {what}, named {suffix}", str(path), "hls")
    path = folder / "itself.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{path}\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhttp://127.0.0.1:{port}/\n")
    yield Escape("playlist of itself", str(path), "hls")
    for what, text in CONCATS.items():
        for suffix in (".ffconcat", ".mp4", ".avi"):
            path = folder / f"concat-{len(os.listdir(folder))}{suffix}"
            path.write_text("ffconcat version 1.0\n" + text.format(self=path, **words))
            yield Escape(f"concat of {what}, named {suffix}", str(path), "concat")
    for what, text in SDPS.items():
        for suffix in (".sdp", ".mp4"):
            path = folder / f"session-{len(os.listdir(folder))}{suffix}"
            head = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            path.write_text(head + text.format(**words))
            yield Escape(f"session of {what}, named {suffix}", str(path), "sdp")
    for name in NAMES:
        yield Escape(f"the name {name.partition(':')[0]}: ({NAMES.index(name)})", name.format(**words))
    pattern = secret["secret1.png"].parent / "secret%d.png"
    yield Escape("pattern of names", str(pattern), "image2")
    yield Escape("pattern with stars", str(pattern).replace("%d", "*"), "image2", {"pattern_type": "glob"})
    yield Escape("a filter that reads", f"movie={secret['secret.ts']}", "lavfi")
    for what, source in (("a device that never ends", "/dev/zero"), ("a pipe", "")):
        path = folder / f"link-{len(os.listdir(folder))}.mp4"
        if source:
            path.symlink_to(source)
        else:
            os.mkfifo(path)
        yield Escape(what, str(path), "mpegts" if source else None)


def control(escape: Escape, listener: Listener) -> str:
    """What happens outside of the jail: `foreign picture`, `connection`, `socket`, `never ends`; empty when nothing."""
    before, sockets = listener.num_connections, _udp_sockets()
    child = os.fork()
    if child == 0:
        os._exit(_careless(escape))
    deadline = time.monotonic() + CONTROL_S
    status, bound = None, False
    while time.monotonic() < deadline and status is None:
        done, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
        bound = bound or bool(_udp_sockets() - sockets)
        time.sleep(0.005)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if status == 42:
        return "foreign picture"
    if listener.num_connections > before:
        return "connection"
    if bound:
        return "socket"
    return "never ends" if status is None else ""


def _careless(escape: Escape) -> int:
    """The child of a control; 42 when it has seen the foreign film."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    try:
        options = LIBERAL | escape.options
        with av.open(escape.target, format=escape.format, options=options) as container:
            for frame in container.decode(video=0):
                return 42 if is_secret(frame.to_ndarray(format="rgb24")) else 1
    except Exception:
        return 2
    return 3


def _udp_sockets() -> set[str]:
    found = set()
    for table in ("udp", "udp6"):
        path = Path("/proc/net") / table
        if path.exists():
            found |= {line.split()[1] for line in path.read_text().splitlines()[1:]}
    return found


def jailed(escape: Escape, listener: Listener) -> str:
    """What is wrong with how the jail meets it, or nothing."""
    before, sockets, began = listener.num_connections, _udp_sockets(), time.monotonic()
    wrong = ""
    for work in _ways(escape):
        try:
            found = work()
        except MediaError as error:
            if "\n" in str(error):
                wrong = "the reason has several lines"
        except BaseException as error:
            wrong = f"escapes as {type(error).__name__}: {error}"
        else:
            wrong = "foreign picture" if found is not None and is_secret(found) else "something was opened"
        if _udp_sockets() - sockets:
            wrong = "a socket"
    if listener.num_connections > before:
        wrong = "a connection"
    return wrong or ("it took longer than 10 s" if time.monotonic() - began > 10 else "")


def _ways(escape: Escape) -> list[Callable[[], Any]]:
    return [
        lambda: first_frame(escape.target, limits=LIMITS),
        lambda: read_sound(escape.target, 16000, 1, limits=LIMITS) and None,
    ]

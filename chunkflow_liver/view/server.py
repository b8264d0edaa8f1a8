"""The server of the viewer: on loopback, with a token; it reads the run, and writes lists of edits only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chunkflow_liver.errors import (
    ChunkError,
    ChunkflowLiverError,
    ConfigError,
    InputError,
    OutputError,
    install,
)
from chunkflow_liver.reports import VIEWER_PORT
from chunkflow_liver.view.answers import Run
from chunkflow_liver.view.serving import PART, Outside, Unsatisfiable, stored

try:
    from tornado.httpserver import HTTPServer
    from tornado.iostream import StreamClosedError
    from tornado.web import Application, HTTPError, RequestHandler
except ImportError as err:
    raise ConfigError(f"the viewer needs 'tornado'; {install('neuroglancer')}") from err

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = {"0.0.0.0": "192.0.2.1", "": "192.0.2.1", "::": "2001:db8::1"}
"""Hosts that stand for all addresses of this machine, and one for documentation that lies outside."""
THREADS = 1
OWN = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm"}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


class Handler(RequestHandler):
    """What all answers share: who may ask, and how refusals are told."""

    def initialize(self, run: Run, token: str, hosts: tuple[str, ...], pool: ThreadPoolExecutor) -> None:
        self.run, self.token, self.hosts, self.pool = run, token, hosts, pool

    @property
    def cookie(self) -> str:
        # Cookies of one host are shared by all its ports.
        return f"chunkflow-liver-{self.request.host.rpartition(':')[2]}"

    def prepare(self) -> None:
        name = self.request.host_name
        if self.hosts and name not in self.hosts:
            # A page of a stranger whose name was made to point here.
            raise HTTPError(403, reason="this server has another name")
        given = self.get_query_argument("token", "") or self.get_cookie(self.cookie) or ""
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            raise HTTPError(
                403, reason="open the address that 'chunkflow-liver view' printed, with its token"
            )
        if self.request.method == "POST":
            origin = self.request.headers.get("Origin", "")
            if origin.partition("://")[2] != self.request.host:
                raise HTTPError(403, reason="edits are taken from the viewer's own page only")

    def set_default_headers(self) -> None:
        self.set_header("Server", "chunkflow-liver")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", POLICY)

    def write_error(self, status_code: int, **told: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        error = told.get("exc_info", (None, None, None))[1]
        if isinstance(error, ChunkflowLiverError):
            self.finish(str(error))
        else:
            self.finish(self._reason)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, HTTPError | ChunkflowLiverError):
            super().log_exception(typ, value, tb)

    async def made(self, what: Callable[..., Any], *given: Any) -> Any:
        """What a function gives that takes time; refusals of ours become answers."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, what, *given)
        except ChunkError as err:
            self.refuse(500, err)
        except (InputError, ConfigError, OutputError) as err:
            self.refuse(404 if self.request.method == "GET" else 400, err)
        raise HTTPError(500)

    def refuse(self, status: int, err: Exception) -> None:
        text = " ".join(str(err).split())
        refused = HTTPError(status)
        # A status line takes Latin letters only.
        refused.reason = text.encode("latin-1", "replace").decode("latin-1")
        raise refused


class Page(Handler):
    """The page; its token moves from the address into a cookie."""

    def get(self) -> None:
        if self.get_query_argument("token", ""):
            self.set_cookie(self.cookie, self.token, httponly=True, samesite="Lax", path="/")
            others = [
                (k, v.decode()) for k, vs in self.request.query_arguments.items() for v in vs if k != "token"
            ]
            self.redirect(f"/?{urlencode(others)}" if others else "/")
            return
        _send(self, OWN, "page.html")


class Own(Handler):
    """Scripts and styles of the page."""

    def get(self, name: str) -> None:
        _send(self, OWN, name)


class Client(Handler):
    """Neuroglancer, as its package brings it."""

    def get(self, name: str) -> None:
        self.set_header("Cache-Control", "private, max-age=86400")
        _send(self, client_folder(), name or "index.html")


class Events(Handler):
    """The line on which neuroglancer's own server would send states; it is held open, and nothing comes."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.write(": the page sets states itself\n\n")
        await self.flush()
        self.closed = asyncio.Event()
        await self.closed.wait()

    def on_connection_close(self) -> None:
        self.closed.set()


class Data(Handler):
    """Files of an image, as they are stored."""

    async def get(self, generation: str, name: str, key: str) -> None:
        image = self.run.now().images.get(name)
        if image is None:
            raise HTTPError(404, reason=f"the run has no image {name[:80]!r}")
        try:
            answer = await stored(image.finest.url, key, self.request.headers.get("Range"))
        except Outside:
            raise HTTPError(403, reason="outside the run") from None
        except Unsatisfiable as err:
            self.set_status(416)
            self.set_header("Content-Range", f"bytes */{err.size}")
            return
        if answer is None:
            raise HTTPError(404, reason="not there (yet)")
        if generation == "done":
            self.set_header("Cache-Control", "private, max-age=60")
        self.set_header("Accept-Ranges", "bytes")
        self.set_header(
            "Content-Type", "application/json" if key.endswith(".json") else "application/octet-stream"
        )
        self.set_header("Content-Length", str(answer.stop - answer.start))
        if answer.partial:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {answer.start}-{answer.stop - 1}/{answer.size}")
        if self.request.method == "HEAD":
            return
        # The view may have moved on before all of it was sent.
        with contextlib.suppress(StreamClosedError):
            async for part in answer.parts():
                self.write(part)
                await self.flush()

    async def head(self, generation: str, name: str, key: str) -> None:
        await self.get(generation, name, key)


class Made(Handler):
    """What is computed as it is asked for: edited and coloured images, meshes, properties, places."""

    async def get(self, kind: str, generation: str, rest: str) -> None:
        if ".." in rest.split("/"):
            raise HTTPError(403, reason="outside the run")
        found = await self.made(self.run.computed, kind, generation, rest)
        if found is None:
            raise HTTPError(404, reason="not there")
        text = not isinstance(found, bytes) or found[:1] == b"{"
        self.set_header("Content-Type", "application/json" if text else "application/octet-stream")
        if isinstance(found, bytes):
            self.set_header("Content-Length", str(len(found)))
        with contextlib.suppress(StreamClosedError):
            async for part in self._parts(found):
                self.write(part)
                await self.flush()

    async def _parts(self, found: bytes | Iterator[bytes]) -> AsyncIterator[bytes]:
        """What is written at once is copied twice on its way; long documents are made meanwhile."""
        if isinstance(found, bytes):
            for begin in range(0, len(found), PART):
                yield found[begin : begin + PART]
            return
        while (part := await self.made(next, found, None)) is not None:
            yield part


class Api(Handler):
    """What the page asks: JSON in, JSON out."""

    async def get(self, what: str) -> None:
        asked = {k: v[-1].decode() for k, v in self.request.query_arguments.items()}
        self._tell(await self.made(self.run.asked, what, asked))

    async def post(self, what: str) -> None:
        try:
            given = json.loads(self.request.body)
        except ValueError:
            raise HTTPError(400, reason="the body is no JSON") from None
        self._tell(await self.made(self.run.told, what, given))

    def _tell(self, found: Any) -> None:
        if found is None:
            raise HTTPError(404, reason="no such question")
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(found, allow_nan=False))


def client_folder() -> Path:
    """Where the package neuroglancer keeps its client.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    from importlib.util import find_spec

    # Not imported: only its files are wanted.
    found = find_spec("neuroglancer")
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"the viewer needs 'neuroglancer'; {install('neuroglancer')}")
    return Path(found.submodule_search_locations[0]) / "static" / "client"


def serve(run: Run, *, host: str, port: int | None, token: str | None = None) -> tuple[HTTPServer, str]:
    """A server that listens, and the address to open; its loop is the caller's.

    Parameters
    ----------
    run : Run
    host : str
        Where it listens.
    port : int, optional
        0 for any free one; without it `VIEWER_PORT`, or a free one where that is taken.
    token : str, optional
        A random one by default.

    Raises
    ------
    OutputError
        If the port is taken, or this machine has no such address.
    """
    client_folder()
    secret = token or secrets.token_urlsafe(24)
    try:
        listening = _listening(host, VIEWER_PORT if port is None else port)
    except OutputError:
        if port is not None:
            raise
        listening = _listening(host, 0)
        log.warning("port %d is taken, so links in reports do not lead to this viewer", VIEWER_PORT)
    taken = listening.getsockname()[1]
    shared = {
        "run": run,
        "token": secret,
        "hosts": tuple(map(_in_address, LOOPBACK)) if host in LOOPBACK else (),
        "pool": ThreadPoolExecutor(THREADS, "view"),
    }
    routes = [
        (r"/", Page, shared),
        (r"/page/([\w.-]+)", Own, shared),
        (r"/v/run/([\w.-]*)", Client, shared),
        (r"/events/run", Events, shared),
        (r"/data/([\w-]+)/([^/]+)/(.*)", Data, shared),
        (r"/(edited|values|meshes|properties|places)/([\w-]+)/(.*)", Made, shared),
        (r"/api/(\w+)", Api, shared),
        (r"/.*", Nothing, shared),
    ]
    server = HTTPServer(Application(routes, log_function=_log), max_body_size=1 << 22)
    server.add_socket(listening)
    name = _outward(host) if host in EVERYWHERE else "127.0.0.1" if host == "localhost" else host
    return server, f"http://{_in_address(name)}:{taken}/?token={secret}"


def _listening(host: str, port: int) -> socket.socket:
    try:
        found = socket.create_server((host, port), family=_family(host))
    except OSError as err:
        raise OutputError(
            f"cannot listen on {host}:{port}: {err.strerror or err}; choose another --port or --host"
        ) from err
    found.setblocking(False)
    return found


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _outward(host: str) -> str:
    """The address of this machine that leads outside, for others to open; its name where none does."""
    with socket.socket(_family(host), socket.SOCK_DGRAM) as asked:
        try:
            # Sends nothing: it only asks which way a packet would go.
            asked.connect((EVERYWHERE[host], 9))
            return str(asked.getsockname()[0])
        except OSError:
            return socket.gethostname()


class Nothing(Handler):
    """All other addresses."""

    def get(self) -> None:
        if ".." in self.request.path.split("/"):
            raise HTTPError(403, reason="outside the run")
        raise HTTPError(404, reason="no such address")


def _send(handler: Handler, folder: Path, name: str) -> None:
    path = folder / name
    if not path.is_file() or path.parent != folder:
        raise HTTPError(404, reason="no such file")
    handler.set_header("Content-Type", TYPES.get(path.suffix, "application/json"))
    handler.write(path.read_bytes())


def _log(handler: RequestHandler) -> None:
    status = handler.get_status()
    log.debug("%d %s in %.0f ms", status, handler.request.path, 1000 * handler.request.request_time())


async def stop(server: HTTPServer) -> None:
    """Listen no more, and let go of those that are connected."""
    server.stop()
    await server.close_all_connections()


def serve_until_stopped(
    run: Run,
    *,
    host: str,
    port: int | None,
    place: Mapping[str, Any],
    browser: bool,
    told: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C; `told` is given the address, at a place if one is wanted."""

    async def answer() -> None:
        server, address = serve(run, host=host, port=port)
        address = f"{address}&{urlencode(place)}" if place else address
        told(address)
        if host not in LOOPBACK:
            log.warning("others can reach %s: whoever has the address can look, and edit", host)
        if browser:
            import webbrowser

            webbrowser.open(address)
        try:
            await asyncio.Event().wait()
        finally:
            await stop(server)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(answer())

"""Serves a page that times .tflite files in a phone's browser.

    tf-lcnn web model.tflite other.tflite

prints the address of the page, and with `segno` installed (the `web` extra) its QR code. The page
takes files that are dropped in too. Nothing is served but the page, LiteRT.js and the files that
are named, and nothing is sent back: files and photos stay in the browser.

LiteRT.js (Apache-2.0, by Google) runs the files. Its package is 12 MB, so it is not kept beside the
page: it is fetched from npm's registry once, into the user's cache folder, and checked against the
hash below on every start. Without a network, `npm pack @litertjs/core@2.5.3` elsewhere makes the
file that --litert takes.

A browser lets a page use the live camera, more than one thread and offline storage only on
localhost and over HTTPS; over plain HTTP the page does without them. --certificate serves over
HTTPS, and --site writes the page and the files as a folder for any static host.
"""

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import socket
import ssl
import sys
import tarfile
import urllib.parse
import urllib.request

from absl import flags

from tf_lcnn import checks, files, places, programs
from tf_lcnn.runtime import litert
from tf_lcnn.runtime.interpreter import parse

FLAGS = flags.FLAGS
HELP = programs.Help("[FILE.tflite...] [FLAG...]", ("port", "site", "certificate", "litert"))

flags.DEFINE_integer("port", 8017, "Of the server; 0 takes a free one.", 0, 65535)
flags.DEFINE_string("litert", None, "LiteRT.js's package, a .tgz; default: fetched once and kept.")
flags.DEFINE_string("certificate", None, "Serves over HTTPS: a PEM file, certificate and key.")
flags.DEFINE_string("site", None, "Writes all that would be served to this new folder instead.")

VERSION = "2.5.3"
PACKAGE = f"https://registry.npmjs.org/@litertjs/core/-/core-{VERSION}.tgz"
# As the registry states it.
SHA512 = "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ=="
# The builds of LiteRT.js for a CPU: usual, for browsers without relaxed SIMD, and with threads.
BUILDS = ("internal", "compat_internal", "threaded_internal")
# LiteRT.js imports its loader by the name of a package, which only bundlers understand.
LOADER = (b'"@litertjs/wasm-utils"', b'"../loader.js"')

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
HEADERS = {
    # The two that let a page have threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # The page talks to this server alone.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; worker-src 'self' blob:",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def litert_package(path=None):
    """The bytes of LiteRT.js's package.

    Args:
        path: the .tgz; None takes the one in the user's cache folder, fetched first where it is
            not there.

    Raises:
        ValueError: it is not the package that this page is made for.
        OSError: it cannot be read, or fetched.
    """
    if path is not None:
        return _checked(pathlib.Path(path).read_bytes(), path)
    kept = kept_path()
    if not kept.is_file():
        print(f"Fetching LiteRT.js, 12 MB; kept in {kept}", file=sys.stderr, flush=True)
        try:
            with urllib.request.urlopen(PACKAGE, timeout=60) as answer:
                content = answer.read()
        except OSError as error:
            raise OSError(
                f"{PACKAGE} cannot be fetched ({checks.first_line(error)}): give its file by "
                "--litert."
            ) from None
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write(kept, _checked(content, PACKAGE))
    return _checked(kept.read_bytes(), kept)


def kept_path():
    """The file that `litert_package` keeps the package in."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return cache / "tf_lcnn" / f"litertjs-core-{VERSION}.tgz"


def _checked(content, name):
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        raise ValueError(f"{name} is not @litertjs/core {VERSION} as npm has it: its hash differs.")
    return content


def litert_files(package):
    """What the page needs of LiteRT.js, path of the URL -> bytes.

    Args:
        package: bytes of a .tgz, see `litert_package`.
    """
    wanted = {"package/dist/index.js": "litert/index.js"}
    for build in BUILDS:
        for suffix in ("js", "wasm"):
            wanted[f"package/wasm/litert_wasm_{build}.{suffix}"] = (
                f"litert/litert_wasm_{build}.{suffix}"
            )
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        found = {url: archive.extractfile(member).read() for member, url in wanted.items()}
    found["litert/index.js"] = found["litert/index.js"].replace(*LOADER)
    return found


def short_names(paths):
    """The ends of the paths that tell them apart: ["a.tflite", "b.tflite"], or with folders."""
    parts = [pathlib.Path(path).resolve().parts for path in paths]
    names = []
    for one in parts:
        length = 1
        while sum(other[-length:] == one[-length:] for other in parts) > 1 and length < len(one):
            length += 1
        names.append("/".join(one[-length:]))
    return names


def refuse_unrunnable(path):
    """Raises ValueError for a file that a browser cannot run, OSError for one that is not there."""
    try:
        content = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {path}.") from None
    model = parse(content, path)
    graph = model.subgraphs[0]
    kinds = {code: name for name, code in vars(litert.schema.TensorType).items()}
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for index in indices:
            kind = graph.tensors[index].type
            if kind != litert.schema.TensorType.FLOAT32:
                takes_frames = kind == litert.schema.TensorType.UINT8
                how = "without --input" if takes_frames else "with float32 input and output"
                raise ValueError(
                    f"{path} has an {what} of {kinds[kind].lower()}, which LiteRT does not run in "
                    f"a browser: export it {how}."
                )


def site(paths, package):
    """All that is served, path of the URL -> bytes, or the path of a file.

    Args:
        paths: of the .tflite files; each is there once.
        package: see `litert_package`.
    """
    paths = list(dict.fromkeys(map(pathlib.Path, paths)))
    urls = [f"files/{number}/{path.name}" for number, path in enumerate(paths)]
    listed = [
        {"name": name, "url": url, "bytes": path.stat().st_size}
        for name, url, path in zip(short_names(paths), urls, paths, strict=True)
    ]
    page = {
        path.name: path.read_bytes()
        for path in sorted(places.PAGE.iterdir())
        if path.suffix in TYPES
    }
    # The page is kept for use without a network, and kept anew when it changes.
    mark = hashlib.sha256(b"".join(page.values()) + VERSION.encode()).hexdigest()[:12]
    named = json.dumps([*page, "litert/index.js"])
    page["offline.js"] = (
        page["offline.js"].replace(b"PAGE_MARK", mark.encode()).replace(b"[]", named.encode(), 1)
    )
    return {
        **page,
        **litert_files(package),
        # LiteRT.js has the license of this project, and comes without its text.
        "litert/LICENSE.txt": places.LICENSE.read_bytes(),
        "files.json": json.dumps(listed).encode(),
        **dict(zip(urls, paths, strict=True)),
    }


def write(served, folder):
    """Writes what `site` made to a new folder.

    Raises:
        FileExistsError: there is one already.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    for url, content in served.items():
        path = folder / url
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD for what `site` made, and 404 for the rest."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tf-lcnn", ""
    # Seconds; a phone that went out of reach ends its thread.
    timeout = 60

    def __init__(self, served, *arguments):
        self._served = served
        super().__init__(*arguments)

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def _answer(self, body):
        url = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).removeprefix("/")
        url = url or "index.html"
        content = self._served.get(url)
        try:
            opened = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
        except (OSError, AttributeError):
            self.send_error(404)
            return
        with opened as file:
            self.send_response(200)
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            kind = TYPES.get(pathlib.PurePosixPath(url).suffix, "application/octet-stream")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if body:
                shutil.copyfileobj(file, self.wfile)

    def end_headers(self):
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def handle(self):
        # A phone goes away in the middle of an answer, or does not trust the certificate.
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.close_connection = True

    def log_message(self, *arguments):
        pass


def server(served, port=0, certificate=None):
    """An HTTP server, on all of this machine's addresses, that does not run yet.

    Args:
        served: see `site`.
        port: 0 takes a free one.
        certificate: a PEM file for HTTPS, certificate and key.

    Raises:
        ValueError: the PEM file is none.
        OSError: it is not there, or the port is taken.
    """
    context = None if certificate is None else _tls(certificate)
    try:
        made = http.server.ThreadingHTTPServer(("", port), functools.partial(Handler, served))
    except (OSError, OverflowError) as error:
        raise OSError(
            f"Port {port} cannot be used ({checks.first_line(error)}): --port=0 takes a free one."
        ) from None
    if context is not None:
        # Hands are shaken in the thread of each request, so a slow phone stops no other.
        made.socket = context.wrap_socket(
            made.socket, server_side=True, do_handshake_on_connect=False
        )
    return made


def _tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A passphrase is not asked for: the PEM file is to have none.
        context.load_cert_chain(certificate, password=lambda: "")
    except ssl.SSLError:
        raise ValueError(
            f"{certificate} is no PEM file with a certificate and its key, without a passphrase."
        ) from None
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no certificate {certificate}.") from None
    return context


def own_address():
    """The address of this machine in its network; 127.0.0.1 where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: this asks which address would be used.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


def print_addresses(port, secure):
    scheme = "https" if secure else "http"
    url = f"{scheme}://{own_address()}:{port}/"
    print(f"{url}  for a phone in the same network")
    print(f"{scheme}://localhost:{port}/  on this machine")
    try:
        import segno
    except ImportError:
        print('pip install "tf-lcnn[web]" shows a QR code here.')
    else:
        segno.make(url, error="l").terminal(compact=True)
    print("Ctrl-C ends it.", flush=True)


def main(paths):
    for path in paths:
        refuse_unrunnable(path)
    served = site(paths, litert_package(FLAGS.litert))
    if FLAGS.site is not None:
        write(served, FLAGS.site)
        print(f"Wrote {FLAGS.site}, {len(served)} files: any static host serves it.")
        return
    with server(served, FLAGS.port, FLAGS.certificate) as running:
        print_addresses(running.server_address[1], FLAGS.certificate is not None)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()


def start():
    programs.run(main, help_of=HELP)

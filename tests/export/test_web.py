"""export/web.py: what is served and what is not, LiteRT.js's package, one line for what is wrong.

The page itself runs in a browser, in test_web_page.py.
"""

import base64
import functools
import hashlib
import http.client
import http.server
import io
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import urllib.parse

import keras
import pytest
from support.helpers import chain
from support.web import ROOT
from support.web import program as web

PAGE = ROOT / "export" / "web"
FOLDER = "package/wasm/litert_wasm_"


def archive(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def hash_of(content):
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.fixture
def package(monkeypatch):
    """A package with the members of LiteRT.js's, and its hash in the place of the real one."""
    builds = [f"{build}.{suffix}" for build in web.BUILDS for suffix in ("js", "wasm")]
    content = archive(
        {
            "package/dist/index.js": b'import { a } from "@litertjs/wasm-utils";',
            **{f"{FOLDER}{build}": f"build {build}".encode() for build in builds},
            f"{FOLDER}jspi_internal.wasm": b"not needed",
        }
    )
    monkeypatch.setattr(web, "SHA512", hash_of(content))
    return content


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "nets" / "a net.tflite"
    path.parent.mkdir()
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 9)
    return path


@pytest.fixture
def running():
    """Starts servers, and stops them when the test is over."""
    started = []

    def start(server):
        started.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def ask(port, path, method="GET", connection=http.client.HTTPConnection, **how):
    asked = connection("localhost", port, timeout=10, **how)
    asked.request(method, path)
    answer = asked.getresponse()
    content = answer.read()
    asked.close()
    return answer.status, content, dict(answer.headers)


# What is served.


def test_page_package_and_named_files_are_served_with_their_types(package, model, running):
    port = running(web.server(web.site([model], package)))
    for path, kind, content in [
        ("/", "text/html; charset=utf-8", (PAGE / "index.html").read_bytes()),
        ("/app.js?x=1", "text/javascript; charset=utf-8", (PAGE / "app.js").read_bytes()),
        ("/style.css", "text/css; charset=utf-8", (PAGE / "style.css").read_bytes()),
        ("/icon.svg", "image/svg+xml", (PAGE / "icon.svg").read_bytes()),
        ("/litert/litert_wasm_internal.wasm", "application/wasm", b"build internal.wasm"),
        ("/files/0/a%20net.tflite", "application/octet-stream", model.read_bytes()),
    ]:
        status, served, headers = ask(port, path)
        assert (status, served) == (200, content), path
        assert headers["Content-Type"] == kind
        status, nothing, of_head = ask(port, path, "HEAD")
        assert (status, nothing, of_head["Content-Length"]) == (200, b"", str(len(content)))
    status, listed, _ = ask(port, "/files.json")
    size = model.stat().st_size
    assert json.loads(listed) == [
        {"name": "a net.tflite", "url": "files/0/a net.tflite", "bytes": size}
    ]


def test_headers_let_the_page_have_threads_and_talk_to_nobody_else(package, running):
    port = running(web.server(web.site([], package)))
    for path in ("/", "/none"):
        _, _, headers = ask(port, path)
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert "Python" not in headers["Server"]


def test_nothing_else_is_served(package, model, running):
    beside = model.parent / "secret.txt"
    beside.write_text("secret")
    port = running(web.server(web.site([model], package)))
    for path in [
        "/secret.txt",
        "/files/0/secret.txt",
        "/files/0/../0/a%20net.tflite",
        "/files/",
        "/../web.py",
        "/%2e%2e/web.py",
        "/..%2fweb.py",
        "//etc/passwd",
        str(beside),
        urllib.parse.quote(str(model)),
        "/litert/litert_wasm_jspi_internal.wasm",
        "/%00",
        "/l%C3%B6we.js",
    ]:
        assert ask(port, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE"):
        assert ask(port, "/", method)[0] == 501


def test_a_file_that_goes_away_is_missing_and_the_rest_stays(package, model, running):
    port = running(web.server(web.site([model], package)))
    model.unlink()
    assert ask(port, "/files/0/a%20net.tflite")[0] == 404
    assert ask(port, "/")[0] == 200


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a/model.tflite"], ["model.tflite"]),
        (["a.tflite", "b.tflite"], ["a.tflite", "b.tflite"]),
        (
            ["runs/dense/model.tflite", "runs/lcnn/model.tflite", "other.tflite"],
            ["dense/model.tflite", "lcnn/model.tflite", "other.tflite"],
        ),
        (["x/a/m.tflite", "y/a/m.tflite"], ["x/a/m.tflite", "y/a/m.tflite"]),
    ],
)
def test_names_are_as_short_as_they_can_be_told_apart(paths, names):
    assert web.short_names(paths) == names


def test_a_site_is_a_folder_with_all_of_it(package, model, tmp_path):
    served = web.site([model, model], package)
    web.write(served, tmp_path / "site")
    written = {
        path.relative_to(tmp_path / "site").as_posix()
        for path in (tmp_path / "site").rglob("*")
        if path.is_file()
    }
    assert written == set(served)
    assert (tmp_path / "site/files/0/a net.tflite").read_bytes() == model.read_bytes()
    # A file that is named twice is there once.
    assert len(json.loads((tmp_path / "site/files.json").read_text())) == 1
    with pytest.raises(FileExistsError):
        web.write(served, tmp_path / "site")


def test_what_is_kept_for_offline_use_is_what_there_is(package):
    served = web.site([], package)
    script = served["offline.js"].decode()
    assert "PAGE_MARK" not in script
    named = json.loads(re.search(r"const PAGE = (\[.*\]);", script)[1])
    assert set(named) <= set(served) and {"app.js", "litert/index.js"} <= set(named)


# LiteRT.js's package.


def test_litert_imports_its_loader_from_a_file(package):
    found = web.litert_files(package)
    assert found["litert/index.js"] == b'import { a } from "../loader.js";'
    assert "litert/litert_wasm_threaded_internal.js" in found
    assert not [name for name in found if "jspi" in name]


class Registry(http.server.BaseHTTPRequestHandler):
    def __init__(self, content, *arguments):
        self.content = content
        super().__init__(*arguments)

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *arguments):
        pass


def registry(content):
    return http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(Registry, content))


def test_package_is_fetched_once_and_kept(package, running, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    port = running(registry(package))
    monkeypatch.setattr(web, "PACKAGE", f"http://localhost:{port}/core.tgz")
    assert web.litert_package() == package
    assert capsys.readouterr().err.startswith("Fetching LiteRT.js, 12 MB; kept in ")
    monkeypatch.setattr(web, "PACKAGE", "http://localhost:9/none")
    assert web.litert_package() == package
    assert capsys.readouterr().err == ""


def test_a_package_with_another_content_is_refused_and_not_kept(
    package, running, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(web, "PACKAGE", f"http://localhost:{running(registry(b'else'))}/core.tgz")
    with pytest.raises(ValueError, match=r"core.tgz is not @litertjs/core 2\.\d\.\d as npm has it"):
        web.litert_package()
    assert not list(tmp_path.rglob("*.tgz"))
    # Nor is one that was changed after.
    web.kept_path().write_bytes(package[:-1])
    with pytest.raises(ValueError, match="its hash differs"):
        web.litert_package()
    (tmp_path / "given.tgz").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"given\.tgz is not"):
        web.litert_package(tmp_path / "given.tgz")


def test_without_a_network_the_way_to_give_the_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(web, "PACKAGE", "http://localhost:9/none")
    with pytest.raises(OSError, match=r"cannot be fetched \(.*\): give its file by --litert"):
        web.litert_package()


# What is refused, and what is printed.


def test_files_that_no_browser_runs_are_refused(tmp_path):
    from tf_lcnn.lite.converter import to_tflite

    if keras.backend.backend() != "tensorflow":
        pytest.skip("export needs the TensorFlow backend")
    net = chain((4,), keras.layers.Dense(3))
    images = [[[0.5, -1, 1, 0]], [[1, 0, 0.25, 2]]]
    variables = [variable.value for variable in net.variables]
    for io_type, kept in (("float32", True), ("int8", False)):
        path = tmp_path / f"{io_type}.tflite"
        path.write_bytes(to_tflite(net, (1, 4), variables, "int8", images, io_type))
        if kept:
            web.refuse_unrunnable(path)
        else:
            with pytest.raises(ValueError, match="has an input of int8, which LiteRT does not run"):
                web.refuse_unrunnable(path)
    text, cut = tmp_path / "text.tflite", tmp_path / "cut.tflite"
    text.write_text("no net, but text")
    cut.write_bytes((tmp_path / "float32.tflite").read_bytes()[:200])
    for path, told in ((text, "is no .tflite file"), (cut, "is damaged, or was cut short")):
        with pytest.raises(ValueError, match=told):
            web.refuse_unrunnable(path)
    with pytest.raises(FileNotFoundError):
        web.refuse_unrunnable(tmp_path / "none.tflite")


def test_a_port_that_is_taken_is_told_with_a_way_out(package, running):
    served = web.site([], package)
    port = running(web.server(served))
    with pytest.raises(OSError, match=rf"Port {port} cannot be used \(.*\): --port=0 takes"):
        web.server(served, port)


def test_the_page_comes_over_https(package, running, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    paths = [str(tmp_path / name) for name in ("key.pem", "certificate.pem")]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
            *("-keyout", paths[0], "-out", paths[1]),
        ],
        check=True,
        capture_output=True,
    )
    both = tmp_path / "both.pem"
    both.write_text("".join(pathlib.Path(path).read_text() for path in paths))
    port = running(web.server(web.site([], package), certificate=both))
    trusting = ssl.create_default_context(cafile=paths[1])
    trusting.check_hostname = False
    secure = {"connection": http.client.HTTPSConnection, "context": trusting}
    assert ask(port, "/", **secure)[0] == 200
    # One who speaks no TLS stops nobody.
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(port, "/")
    assert ask(port, "/", **secure)[0] == 200
    with pytest.raises(ValueError, match=r"certificate\.pem is no PEM file with"):
        web.server({}, certificate=paths[1])
    with pytest.raises(FileNotFoundError, match="There is no certificate"):
        web.server({}, certificate=tmp_path / "none.pem")


def test_addresses_are_printed_with_a_qr_code_where_there_is_segno(capsys, monkeypatch):
    monkeypatch.setattr(web, "own_address", lambda: "192.168.1.20")
    monkeypatch.setitem(sys.modules, "segno", None)
    web.print_addresses(8017, False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "http://192.168.1.20:8017/  for a phone in the same network"
    assert lines[1] == "http://localhost:8017/  on this machine"
    assert lines[2] == 'pip install "tf-lcnn[web]" shows a QR code here.'
    monkeypatch.undo()
    pytest.importorskip("segno", reason="the web extra is not installed")
    web.print_addresses(8017, True)
    drawn = capsys.readouterr().out
    assert drawn.startswith("https://") and "█" in drawn and "pip install" not in drawn


@pytest.mark.slow
def test_the_program_says_in_one_line_what_is_wrong(tmp_path):
    path = tmp_path / "notes.tflite"
    path.write_text("no net, but text")
    done = subprocess.run(
        [sys.executable, "export/web.py", str(path)],
        cwd=ROOT,
        # TensorFlow sets a level of its own where it was imported.
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"web.py: {path} is no .tflite file.\n"


# The page's files.


def test_scripts_import_files_that_there_are():
    for path in PAGE.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"(?:from |import\()'\./([^']+)'", text):
            assert name == "litert/index.js" or (PAGE / name).is_file(), f"{path.name}: {name}"


def test_scripts_use_elements_that_there_are():
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    there = set(re.findall(r'id="([^"]+)"', page))
    used = set()
    for path in PAGE.glob("*.js"):
        used |= set(re.findall(r"find\('([^']+)'\)", path.read_text(encoding="utf-8")))
    assert used and used <= there
    assert set(re.findall(r'for="([^"]+)"', page)) <= there


def test_the_page_loads_nothing_from_elsewhere():
    found = set()
    for path in PAGE.iterdir():
        if path.name == "README.md":
            continue
        found |= set(re.findall(r"https?://([^/\"'\s]+)", path.read_text(encoding="utf-8")))
    # A link for the reader, and the name of a namespace.
    assert found == {"ai.google.dev", "www.w3.org"}

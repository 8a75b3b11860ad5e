"""The page of export/web in a real browser: Chromium, without a window, driven by Playwright."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain, random, settle
from support.web import ROOT
from support.web import program as web

from tf_lcnn import LookupConv2D

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no browser driver: pip install -e .[browser]"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
    ),
]
VECTORS = json.loads(
    (ROOT / "export/android/app/src/test/resources/vectors.json").read_text(encoding="utf-8")
)
PHOTOS = [case for case in VECTORS["photos"] if case["tensor"]["type"] == "float32"]
OPTIONS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
# The browser sums in another order than LiteRT in Python, and without relaxed SIMD rounds twice.
RELATIVE = 2e-5
# Milliseconds that a loaded machine may take to start LiteRT.js.
PATIENCE = 120_000


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The bytes of LiteRT.js's package: kept ones, or those that npm fetches."""
    if web.kept_path().is_file():
        return web.litert_package()
    folder = tmp_path_factory.mktemp("npm")
    if shutil.which("npm") is None:
        pytest.skip("no LiteRT.js: neither the package in the cache folder nor npm to fetch it")
    command = ["npm", "pack", "--silent", f"@litertjs/core@{web.VERSION}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no LiteRT.js: npm cannot fetch it ({done.stderr.strip()[:200]})")
    (path,) = folder.glob("*.tgz")
    return web.litert_package(path)


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Name -> path of exported files: classifiers, images out, and files that do not run."""
    # Here, for they import LiteRT, which collecting the tests of another backend does without.
    from tf_lcnn.data import datasets
    from tf_lcnn.lite.export import export

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("nets")
    data = datasets.load("digits")
    examples = data.evaluation("test", 100)

    def classifier(convolution):
        body = convolution(16), layers.BatchNormalization(), layers.ReLU(), convolution(24)
        head = layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(10)
        return settle(chain(data.image_shape, *body, *head))

    def restorer(shape, convolution):
        image = keras.Input(shape)
        hidden = convolution(image)
        change = layers.Conv2D(shape[-1], 3, padding="same")(hidden)
        return keras.Model(image, layers.Add()([image, change]))

    dense = classifier(lambda filters: layers.Conv2D(filters, 3, padding="same"))
    lcnn = classifier(lambda filters: LookupConv2D(filters, 3, 8, padding="same"))
    relu = {"padding": "same", "activation": "relu"}
    image = restorer((24, 32, 3), LookupConv2D(8, 3, 8, **relu))
    open_size = restorer((None, None, 1), layers.Conv2D(8, 3, **relu))
    pictures = np.random.default_rng(0).random((4, 24, 32, 3), np.float32)
    int8 = {"quantize": "int8", "calibration": data.sample("train", 64), "dataset": data}
    export(dense, folder / "dense.tflite", examples, dataset=data)
    export(lcnn, folder / "lcnn.tflite", examples, dataset=data, lowering="sparse")
    export(dense, folder / "int8.tflite", examples, **int8)
    export(dense, folder / "int8_io.tflite", examples, io="int8", **int8)
    export(image, folder / "image.tflite", pictures)
    export(open_size, folder / "open_size.tflite", pictures[..., :1])
    (folder / "text.tflite").write_text("no net, but text " * 50)
    whole = (folder / "lcnn.tflite").read_bytes()
    (folder / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    # The table of contents points past the end.
    (folder / "damaged.tflite").write_bytes(b"\xf0\xff\xff\x7f" + whole[4:])
    return {path.stem: path for path in folder.glob("*.tflite")}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield launched
        launched.close()


@pytest.fixture
def serve():
    """Serves what `site` made; returns the address and a function that ends it."""
    ends = []

    def start(served):
        server = web.server(served)
        accept, sockets = server.get_request, []

        def get_request():
            connection = accept()
            sockets.append(connection[0])
            return connection

        server.get_request = get_request
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def end():
            server.shutdown()
            server.server_close()
            # A browser keeps its connections, and threads would answer on.
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        ends.append(end)
        return f"http://localhost:{server.server_address[1]}/", end

    yield start
    for end in ends:
        end()


@pytest.fixture
def visit(browser):
    """Opens an address in a fresh profile; errors of the page fail the test."""
    contexts, errors = [], []

    def start(address, context=None):
        if context is None:
            context = browser.new_context(viewport={"width": 390, "height": 844})
            context.set_default_timeout(PATIENCE)
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()
    assert not errors


def idle(page, files=None):
    """Waits until the page has nothing to do, and lists so many files and refusals."""
    if files is not None:
        page.wait_for_selector(f"#list li:nth-child({files})")
    page.wait_for_selector("body:not([data-busy])")
    return page


def expected(path, inputs):
    from tf_lcnn.runtime.interpreter import Interpreter

    return Interpreter(str(path)).predict(inputs)


RUN = """async ([url, threads, inputs]) => {
  const {Runtime} = await import('./runtime.js');
  const {parse} = await import('./tflite.js');
  const content = await (await fetch(url)).arrayBuffer();
  const runtime = await Runtime.start(threads);
  await runtime.call('open', {key: 1, content: parse(content, 'net').content});
  const outputs = [];
  for (const input of inputs) {
    const {output} = await runtime.call('run', {key: 1, input: Float32Array.from(input)});
    outputs.push([...output]);
  }
  runtime.stop();
  return outputs;
}"""


@pytest.mark.parametrize("build", ["usual", "threads", "compatible"])
def test_outputs_are_those_of_litert_in_python(build, nets, package, serve, visit):
    runs = [nets[name] for name in ("dense", "lcnn", "int8", "image", "open_size")]
    served = web.site(runs, package)
    if build == "compatible":
        # As in a browser without relaxed SIMD.
        changed = served["litert/index.js"].replace(b'supportsFeature("relaxedSimd")', b"false")
        assert changed != served["litert/index.js"]
        served["litert/index.js"] = changed
    address, _ = serve({**served, "files.json": b"[]"})
    page = visit(address)
    assert page.evaluate("self.crossOriginIsolated")
    for number, path in enumerate(runs):
        shape = (24, 32, 3) if path.stem == "image" else (8, 8, 1)
        shape = (24, 32, 1) if path.stem == "open_size" else shape
        inputs = random((3, *shape), number)
        given = [one.ravel().tolist() for one in inputs]
        threads = 2 if build == "threads" else 1
        outputs = page.evaluate(RUN, [f"files/{number}/{path.name}", threads, given])
        wanted = expected(path, inputs)
        outputs = np.reshape(outputs, wanted.shape)
        step = RELATIVE * np.abs(wanted).max()
        if path.stem == "int8":
            # One step of the output's scale, where the sums before it round to the other side.
            values = np.unique(np.concatenate([wanted, expected(path, random((99, 8, 8, 1)))]))
            step = 1.01 * np.diff(values).min()
        np.testing.assert_allclose(outputs, wanted, rtol=0, atol=step, err_msg=path.name)


def test_files_are_measured_in_turn_and_shown(nets, package, serve, visit):
    address, _ = serve(web.site([nets["dense"], nets["lcnn"]], package))
    page = idle(visit(address), 2)
    sizes = {name: f"{nets[name].stat().st_size:,}" for name in ("dense", "lcnn")}
    assert f"{sizes['lcnn']} bytes, 8\u00d78\u00d71 → 10 classes" in page.inner_text("#list")
    page.click("#measure")
    page.wait_for_selector("#copy:enabled")
    rows = [re.split(r"\t", row) for row in page.inner_text("#table tbody").splitlines()]
    assert [row[0] for row in rows] == ["dense.tflite", "lcnn.tflite"]
    assert [row[3] for row in rows] == list(sizes.values())
    (first, one), (second, speed) = [(float(row[1]), float(row[2][:-1])) for row in rows]
    assert one == 1 and first > 0 and second > 0
    # Both are rounded to what is shown.
    assert speed == pytest.approx(first / second, rel=0.02, abs=0.006)
    assert "lcnn.tflite" in page.inner_text("#headline")
    assert page.locator("#charts svg rect").count() == 4

    page.fill("#device", "My <b>phone</b>")
    page.click("#copy")
    page.wait_for_selector("#copied:not(:empty)")
    shared = visit(page.url)
    told = shared.inner_text("#shared")
    assert re.fullmatch(
        r"Shared by link: measured on My <b>phone</b>, Chrome \d+, \d{4}-\d\d-\d\d\.", told
    )
    assert page.inner_text("#table tbody") == shared.inner_text("#table tbody")
    assert page.inner_text("#headline") == shared.inner_text("#headline")


def test_bars_are_as_long_as_what_they_stand_for(package, serve, visit):
    address, _ = serve(web.site([], package))
    code = """async (rows) => {
      const {bars} = await import('./chart.js');
      const chart = bars('Milliseconds', rows);
      return [
        chart.getAttribute('aria-label'),
        [...chart.querySelectorAll('rect')].map((x) => x.width.baseVal.value),
        [...chart.querySelectorAll('.spread')].map((x) => x.getAttribute('d')),
      ];
    }"""
    rows = [
        {"name": "dense", "value": 4, "label": "4.00 ms", "low": 3, "high": 5},
        {"name": "lcnn", "value": 2, "label": "2.00 ms", "low": 1, "high": 400},
    ]
    label, widths, spreads = visit(address).evaluate(code, rows)
    assert label == "Milliseconds: dense 4.00 ms, lcnn 2.00 ms"
    assert widths[0] == pytest.approx(2 * widths[1])
    # From the low quartile to the high one, which ends at half as much again as the longest bar.
    ends = [re.match(r"M([\d.]+) [\d.]+H([\d.]+)", drawn).groups() for drawn in spreads]
    scale = widths[0] / 4
    for drawn, wanted in zip(ends, [(3, 5), (1, 6)], strict=True):
        assert [float(x) / scale for x in drawn] == pytest.approx(wanted)


def test_a_damaged_link_is_told_in_one_line(package, serve, visit):
    address, _ = serve(web.site([], package))
    page = visit(address)
    # No base64; no numbers; no files.
    for link in ("#r=%%%", "#r=W10", "#r=WzEsMiwzLDQsNSxbXV0"):
        page.evaluate("document.getElementById('status').textContent = ''")
        page.goto(f"{address}{link}")
        page.wait_for_selector("#status:not(:empty)")
        assert page.inner_text("#status") == "This link is damaged: its numbers cannot be read."
        assert page.is_hidden("#result")


def test_what_does_not_run_is_told_in_one_line_each_and_the_rest_runs(nets, package, serve, visit):
    gone = nets["dense"].with_name("gone.tflite")
    shutil.copyfile(nets["dense"], gone)
    address, _ = serve(web.site([gone, nets["dense"]], package))
    gone.unlink()
    page = idle(visit(address), 2)
    assert page.inner_text("#list .wrong") == "gone.tflite is missing: the server has it no more."
    bad = [str(nets[name]) for name in ("text", "cut", "damaged", "int8_io")]
    page.set_input_files("#choose", [*bad, str(nets["lcnn"])])
    idle(page, 6)
    assert page.eval_on_selector_all("#list .wrong", "all => all.map((x) => x.textContent)") == [
        "text.tflite is no .tflite file.",
        "cut.tflite is damaged, or was cut short.",
        "damaged.tflite is damaged, or was cut short.",
        "int8_io.tflite has an input of int8, which LiteRT does not run in a browser: export it "
        "with float32 input and output.",
    ]
    assert page.eval_on_selector_all("#list b", "all => all.map((x) => x.textContent)") == [
        "dense.tflite",
        "lcnn.tflite",
    ]


def test_files_with_wrong_bytes_in_them_end_in_a_line_or_run(nets, package, serve, visit, tmp_path):
    whole, rng = nets["lcnn"].read_bytes(), np.random.default_rng(0)
    paths = []
    for number in range(16):
        content = bytearray(whole)
        for at in rng.integers(8, len(whole), 2 ** (number % 8)):
            content[at] = rng.integers(256)
        paths.append(tmp_path / f"wrong_{number}.tflite")
        paths[-1].write_bytes(content)
    address, _ = serve(web.site([nets["dense"]], package))
    page = idle(visit(address), 1)
    page.set_input_files("#choose", [*map(str, paths), str(nets["lcnn"])])
    idle(page, 18)
    lines = page.eval_on_selector_all("#list .wrong", "all => all.map((x) => x.textContent)")
    assert lines and all(re.search(r"wrong_\d+\.tflite", line) for line in lines)
    assert not [line for line in lines if "\n" in line]
    assert page.inner_text("#list li:nth-last-child(1 of :not(.wrong)) b") == "lcnn.tflite"
    # After whatever crashed, the others run.
    page.click("#measure")
    page.wait_for_selector("#copy:enabled")


def test_a_photo_becomes_the_input_of_training(package, serve, visit):
    address, _ = serve(web.site([], package))
    page = visit(address)
    code = """async (cases) => {
      const {toInput} = await import('./photo.js');
      return cases.map(([data, width, height, spec]) =>
        [...toInput({data: Uint8ClampedArray.from(data), width, height}, spec)]);
    }"""
    given = []
    for case in PHOTOS:
        words = " ".join(case["pixels"]).split()
        pixels = [int(word[i : i + 2], 16) for word in words for i in (2, 4, 6, 0)]
        given.append([pixels, case["width"], case["height"], case["input"]])
    for case, values in zip(PHOTOS, page.evaluate(code, given), strict=True):
        np.testing.assert_allclose(values, case["expected"], rtol=1e-6, atol=2e-5)


def test_outputs_and_metadata_are_read_as_on_android(package, serve, visit):
    address, _ = serve(web.site([], package))
    page = visit(address)
    code = """async (cases) => {
      const {softmax, largest} = await import('./photo.js');
      return cases.map((logits) => [softmax(logits), largest(softmax(logits), 3)]);
    }"""
    cases = VECTORS["outputs"]
    for case, (probabilities, top) in zip(
        cases, page.evaluate(code, [case["logits"] for case in cases]), strict=True
    ):
        np.testing.assert_allclose(probabilities, case["probabilities"], atol=1e-7)
        assert top == case["top"]
    code = """async (files) => {
      const {metadata, photoUse} = await import('./tflite.js');
      return Promise.all(files.map(async ([text, height, width, channels, classes]) => {
        const content = Uint8Array.from(atob(text), (x) => x.charCodeAt(0)).buffer;
        const described = await metadata(content);
        const shapes = {
          inputs: [{shape: [1, height, width, channels]}], outputs: [{shape: [1, classes]}],
        };
        return [described, photoUse(shapes, described)];
      }));
    }"""

    def asked(case):
        spec = case.get("input") or {"height": 2, "width": 2, "channels": 3}
        sizes = [spec[key] for key in ("height", "width", "channels")]
        return [case["base64"], *sizes, len(case.get("labels") or "ab")]

    good = page.evaluate(code, [asked(case) for case in VECTORS["files"]])
    for case, (described, use) in zip(VECTORS["files"], good, strict=True):
        assert described["name"] == case["name"]
        assert (use["labels"], use["spec"]) == (case["labels"], case["input"])
    refused = VECTORS["refused_files"] + VECTORS["files_that_say_less"]
    for _, use in page.evaluate(code, [asked(case) for case in refused]):
        assert use is None


def test_a_photo_is_classified_as_in_python(nets, package, serve, visit, tmp_path):
    import tensorflow as tf

    from tf_lcnn.lite import metadata

    photo = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    (tmp_path / "photo.png").write_bytes(tf.io.encode_png(photo).numpy())
    spec = metadata.read(nets["lcnn"])["input"]
    grey = photo @ [[0.299], [0.587], [0.114]]
    logits = expected(nets["lcnn"], ((grey - spec["mean"]) / spec["std"])[None])[0]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    address, _ = serve(web.site([nets["lcnn"]], package))
    page = idle(visit(address), 1)
    page.set_input_files("#photo", str(tmp_path / "photo.png"))
    page.wait_for_selector(".guess:nth-child(3)")
    idle(page)
    shown = [row.split("\n") for row in page.locator(".guess").all_inner_texts()]
    assert [label for label, _ in shown] == [
        str(index) for index in np.argsort(-probabilities, kind="stable")[:3]
    ]
    for label, percent in shown:
        assert float(percent[:-2]) == pytest.approx(100 * probabilities[int(label)], abs=0.06)
    text = tmp_path / "photo.jpg"
    text.write_text("no photo")
    page.set_input_files("#photo", str(text))
    page.wait_for_selector("#photo-status:not(:empty)")
    told = page.inner_text("#photo-status")
    assert told == "photo.jpg is no picture that this browser can open."


def test_images_are_shown_before_and_after_with_a_slider(nets, package, serve, visit, tmp_path):
    import tensorflow as tf

    photo = np.random.default_rng(2).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    (tmp_path / "photo.png").write_bytes(tf.io.encode_png(photo).numpy())
    address, _ = serve(web.site([nets["image"]], package))
    page = idle(visit(address), 1)
    page.set_input_files("#photo", str(tmp_path / "photo.png"))
    page.wait_for_selector(".compare")
    idle(page)

    def pixels():
        return np.reshape(
            page.eval_on_selector_all(
                ".compare canvas",
                "all => all.map((x) => [...x.getContext('2d').getImageData(0, 0, 32, 24).data])",
            ),
            (2, 24, 32, 4),
        )[..., :3].astype(int)

    before, after = pixels()
    np.testing.assert_array_equal(before, photo)
    wanted = 255 * np.clip(expected(nets["image"], photo[None] / np.float32(255))[0], 0, 1)
    assert np.abs(after - wanted).max() < 0.51
    at = "x => getComputedStyle(x).getPropertyValue('--at')"
    assert page.eval_on_selector(".compare", at) == "50%"
    page.focus("input[type=range]")
    page.keyboard.press("Home")
    assert page.eval_on_selector(".compare", at) == "0%"
    for worsen, most in (("noise", 40), ("small", 80)):
        page.select_option("#worsen", worsen)
        idle(page)
        change = np.abs(pixels()[0] - photo)
        assert 5 < change.mean() < most


def test_the_camera_runs_and_stops(nets, package, serve, visit):
    address, _ = serve(web.site([nets["lcnn"]], package))
    page = idle(visit(address), 1)
    page.click("#camera")
    page.wait_for_selector(".guess:nth-child(3)")
    assert page.inner_text("#camera") == "Stop the camera" and page.is_visible("video")
    page.click("#camera")
    idle(page)
    assert page.inner_text("#camera") == "Camera" and page.is_hidden("video")
    assert page.evaluate("document.querySelector('video').srcObject.active") is False


def test_over_plain_http_the_page_does_without_what_needs_https(nets, package, serve, visit):
    address, _ = serve(web.site([nets["lcnn"]], package))
    if web.own_address() == "127.0.0.1":
        pytest.skip("this machine is in no network")
    page = idle(visit(address.replace("localhost", web.own_address())), 1)
    assert page.evaluate("isSecureContext") is False
    assert page.is_hidden("#camera") and page.is_hidden("#threads") and page.is_hidden("#share")
    assert page.is_visible("label[for=photo]")
    page.click("#measure")
    page.wait_for_selector("#copy:enabled")
    page.click("#copy")
    page.wait_for_selector("#copied:not(:empty)")
    assert page.inner_text("#copied") == "The link stands in the address bar now."
    assert "#r=" in page.url


def test_it_works_without_a_network_once_loaded(nets, package, serve, visit):
    address, end = serve(web.site([nets["dense"]], package))
    page = idle(visit(address), 1)
    assert "Works offline from now on" in page.inner_text("footer")
    end()
    again = idle(visit(address, page.context), 1)
    assert again.inner_text("#list b") == "dense.tflite"
    again.click("#measure")
    again.wait_for_selector("#copy:enabled")
    assert "dense.tflite takes" in again.inner_text("#headline")

"""The Android app of export/android: its contract with the exporter, and its files.

What it computes is fixed by vectors.json, which its own unit tests read too: both sides are tested
against the same numbers. test_android_build.py compiles it and runs those.
"""

import base64
import io
import json
import math
import pathlib
import re
import tomllib
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest

from tf_lcnn.runtime import learning

APP = pathlib.Path(__file__).parents[2] / "export" / "android"
MAIN = APP / "app" / "src" / "main"
VECTORS = json.loads((APP / "app/src/test/resources/vectors.json").read_text(encoding="utf-8"))
MAVEN = "http://maven.apache.org/POM/4.0.0"
PURE = [
    "Classifier",
    "Comparison",
    "LearnedState",
    "Metadata",
    "Preprocessing",
    "RunningMedian",
    "Yuv",
]
ANDROID = "{http://schemas.android.com/apk/res/android}"
LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}


def files(*suffixes):
    # A checkout where the app was built has files of the build too.
    made = {"build", "target", ".gradle", ".kotlin", ".idea"}
    paths = [path for path in APP.rglob("*") if path.suffix in suffixes]
    return sorted(path for path in paths if not made & set(path.relative_to(APP).parts))


def names(paths):
    return [str(path.relative_to(APP)) for path in paths]


def by_name(kind):
    return pytest.mark.parametrize("case", VECTORS[kind], ids=lambda case: case["name"])


def photo(name):
    return next(case for case in VECTORS["photos"] if case["name"] == name)


# The Python twin of Metadata.kt, Preprocessing.kt and Yuv.kt.


def read_metadata(file):
    """Name, labels and input; each None where the file does not say it."""
    name = labels = spec = None
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = {member: archive.read(member).decode() for member in archive.namelist()}
        if "tf_lcnn.json" in members:
            name, spec = read_description(json.loads(members["tf_lcnn.json"]))
        if "labels.txt" in members:
            lines = members["labels.txt"].removesuffix("\n").split("\n")
            labels = [line.removesuffix("\r") for line in lines]
    return name, labels, spec


def read_description(description):
    spec = description["input"]
    short, crop = spec["short_side"], max(spec["height"], spec["width"])
    if not (
        description["format"] == 1
        and "frame" not in description
        and description["output"] == "logits"
        and min(spec["height"], spec["width"]) > 0
        and spec["channels"] in (1, 3)
        and len(spec["mean"]) == len(spec["std"]) == spec["channels"]
        and min(spec["std"]) > 0
        and (short is None or short >= crop)
    ):
        raise ValueError(description)
    return description["name"], spec


def pixels_of(case):
    """Red, green, blue of each pixel; alpha is ignored."""
    words = " ".join(case["pixels"]).split()
    pixels = [[int(word[i : i + 2], 16) for i in (2, 4, 6)] for word in words]
    assert len(pixels) == case["width"] * case["height"]
    return np.reshape(pixels, (case["height"], case["width"], 3))


def resized_size(height, width, spec):
    target, short = spec["short_side"], min(height, width)
    if target is None:
        return spec["height"], spec["width"]
    return tuple((2 * side * target + short) // (2 * short) for side in (height, width))


def interpolate(values, resized):
    """Resizes the first axis: a triangle, as wide as the shrinking asks for."""
    scale = len(values) / resized
    reach = max(scale, 1)
    interpolated = []
    for i in range(resized):
        center = (i + 0.5) * scale
        total = weights = 0
        for j, value in enumerate(values):
            weight = max(1 - abs(j + 0.5 - center) / reach, 0)
            total, weights = total + weight * value, weights + weight
        interpolated.append(total / weights)
    return np.array(interpolated)


def resize(image, height, width):
    rows = interpolate(image.astype(float), height)
    return interpolate(rows.swapaxes(0, 1), width).swapaxes(0, 1)


def quantize(real, tensor):
    low, high = LIMITS[tensor["type"]]
    value = real / float(np.float32(tensor["scale"])) + tensor["zero_point"]
    return min(max(math.floor(value + 0.5), low), high)


def to_input(case):
    spec, tensor = case["input"], case["tensor"]
    height, width = resized_size(case["height"], case["width"], spec)
    image = resize(pixels_of(case), height, width)
    top, left = (height - spec["height"]) // 2, (width - spec["width"]) // 2
    image = image[top : top + spec["height"], left : left + spec["width"]]
    if spec["channels"] == 1:
        image = image @ np.array([[0.299], [0.587], [0.114]])
    real = ((image - spec["mean"]) / spec["std"]).ravel()
    if tensor["type"] == "float32":
        return real
    return np.array([quantize(value, tensor) for value in real])


def frame_to_rgb(case):
    """Red, green, blue of each pixel, from the luma of red and blue alone (BT.601)."""
    left, top, width, height = case["crop"]
    red_luma, blue_luma = 0.299, 0.114
    image = np.empty((height, width, 3))
    for row, column in np.ndindex(height, width):
        x, y = left + column, top + row
        at = [(x, y), (x // 2, y // 2), (x // 2, y // 2)]
        luma, cb, cr = (
            bytes.fromhex(plane["hex"])[j * plane["row_stride"] + i * plane["pixel_stride"]]
            for plane, (i, j) in zip(case["planes"], at, strict=True)
        )
        red = luma + 2 * (1 - red_luma) * (cr - 128)
        blue = luma + 2 * (1 - blue_luma) * (cb - 128)
        green = (luma - red_luma * red - blue_luma * blue) / (1 - red_luma - blue_luma)
        image[row, column] = red, green, blue
    image = np.floor(image.clip(0, 255) + 0.5).astype(int)
    return np.rot90(image, -case["turn"] // 90)


# The contract.


@by_name("photos")
def test_twin_computes_the_expected_tensor(case):
    spec = case["input"]
    assert len(case["expected"]) == spec["height"] * spec["width"] * spec["channels"]
    np.testing.assert_allclose(to_input(case), case["expected"], rtol=0, atol=2e-6)


@by_name("photos")
def test_resizing_is_that_of_training(case):
    import tensorflow as tf

    image = pixels_of(case)
    size = resized_size(case["height"], case["width"], case["input"])
    expected = tf.image.resize(image, size, antialias=True).numpy()
    np.testing.assert_allclose(resize(image, *size), expected, rtol=0, atol=1e-3)


def test_vectors_cover_the_contract():
    inputs = [case["input"] for case in VECTORS["photos"]]
    assert {spec["channels"] for spec in inputs} == {1, 3}
    assert {spec["short_side"] is None for spec in inputs} == {True, False}
    assert {case["tensor"]["type"] for case in VECTORS["photos"]} == {"float32", "int8", "uint8"}
    shapes = [(case["height"], case["width"]) for case in VECTORS["photos"]]
    assert {height > width for height, width in shapes} == {True, False}


def test_crop_by_hand():
    case = photo("crop of the middle, no resizing")
    assert (case["width"], case["height"]) == (5, 4)
    # Rows 0 to 2 of 4, columns 1 to 3 of 5; mean 10, 20, 30 and deviation 2, 4, 5.
    expected = [
        [(20 * x + 5 * y - 10) / 2, (100 + 20 * x - 20) / 4, (200 - 10 * y - 30) / 5]
        for y in (0, 1, 2)
        for x in (1, 2, 3)
    ]
    assert case["expected"] == np.ravel(expected).tolist()


def test_enlarging_by_hand():
    case = photo("twice as large, not cropped")
    red = np.reshape(case["expected"], (4, 4, 3))[:, :, 0]
    # Red is 0 255 / 0 255: outputs lie at a quarter and three quarters between the pixels.
    np.testing.assert_allclose(red, [[0, 63.75, 191.25, 255]] * 4)
    green = np.reshape(case["expected"], (4, 4, 3))[:, :, 1]
    np.testing.assert_allclose(green[:, 0], [0, 63.75, 191.25, 255])


def test_grey_by_hand():
    case = photo("grey of pure colors")
    # 9, red, 9 shrunk to one pixel: weights 2/3, 1, 2/3 over their sum.
    red, other = (2 * 9 + 2 * 9 + 3 * 255) / 7, (2 * 9 + 2 * 9 + 3 * 0) / 7
    grey = 0.299 * red + 0.587 * other + 0.114 * other
    np.testing.assert_allclose(case["expected"], [grey / 255], atol=1e-6)


def test_quantization_by_hand():
    case = photo("int8 with ties and clamping")
    assert pixels_of(case).ravel().tolist() == [0, 3, 128, 127, 129, 130, 255, 1, 64]
    # (pixel - 127) / 64 / (1 / 32) - 90, halves up, at least -128.
    # -153.5 -152 -89.5 -90 -89 -88.5 -26 -153 -121.5
    assert case["expected"] == [-128, -128, -89, -90, -89, -88, -26, -128, -121]
    # (grey - 100) / 50 / 0.0125 + 128 is -32, 128 and 376.
    assert photo("uint8 clamped")["expected"] == [0, 128, 255]
    as_they_are = photo("uint8 pixels as they are")
    assert as_they_are["expected"] == pixels_of(as_they_are).ravel().tolist()


def test_long_side_is_rounded_to_nearest():
    assert resized_size(4, 5, {"short_side": 2}) == (2, 3)
    assert resized_size(5, 7, {"short_side": 3}) == (3, 4)
    assert resized_size(4000, 3000, {"short_side": 183}) == (244, 183)


@by_name("frames")
def test_twin_computes_the_expected_photo(case):
    found = frame_to_rgb(case)
    rows = [" ".join(f"ff{r:02x}{g:02x}{b:02x}" for r, g, b in row) for row in found]
    assert rows == case["expected"]


def test_frames_cover_what_cameras_give():
    frames = VECTORS["frames"]
    assert {case["turn"] for case in frames} == {0, 90, 180, 270}
    assert {case["planes"][1]["pixel_stride"] for case in frames} == {1, 2}
    assert {tuple(case["crop"][:2]) == (0, 0) for case in frames} == {True, False}
    (case,) = (case for case in frames if case["name"] == "primary colors and gray")
    # What JPEG makes of red, green and blue: 149 - 0.344 (44 - 128) - 0.714 (21 - 128) is 254.
    red, _, green, _, blue, _, black, white = case["expected"][1].split()
    assert (red, green, blue) == ("fffe0000", "ff00fe00", "ff0000fe")
    assert (black, white) == ("ff000000", "ffffffff")


@by_name("outputs")
def test_outputs_become_the_expected_probabilities(case):
    tensor, values = case["tensor"], np.array(case["values"])
    if tensor["type"] == "float32":
        logits = values
    else:
        low, high = LIMITS[tensor["type"]]
        assert low <= values.min() and values.max() <= high
        logits = float(np.float32(tensor["scale"])) * (values - tensor["zero_point"])
    np.testing.assert_allclose(logits, case["logits"], atol=1e-6)
    ratios = [math.exp(logit - max(logits)) for logit in logits]
    probabilities = [ratio / math.fsum(ratios) for ratio in ratios]
    np.testing.assert_allclose(probabilities, case["probabilities"], atol=1e-7)
    assert case["top"] == np.argsort(-np.array(probabilities), kind="stable")[:3].tolist()


@by_name("files")
def test_metadata_of_the_vectors(case):
    metadata = read_metadata(io.BytesIO(base64.b64decode(case["base64"])))
    assert metadata == (case["name"], case["labels"], case["input"])


@by_name("files_that_say_less")
def test_what_files_do_not_say_is_none(case):
    _, labels, spec = read_metadata(io.BytesIO(base64.b64decode(case["base64"])))
    assert (labels, spec) == (case["labels"], case["input"])


@by_name("refused_files")
def test_refused_metadata_of_the_vectors(case):
    with pytest.raises((ValueError, KeyError)):
        read_metadata(io.BytesIO(base64.b64decode(case["base64"])))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_metadata_appended_to_a_model(tmp_path, method):
    path, model = tmp_path / "model.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 9
    path.write_bytes(model)
    spec = dict(VECTORS["files"][0]["input"])
    description = {"format": 1, "name": "a", "input": spec, "output": "logits"}
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("labels.txt", "Löwenzahn\nbus, coach\n")
        archive.writestr("tf_lcnn.json", json.dumps(description))
    assert path.read_bytes().startswith(model)
    assert read_metadata(path) == ("a", ["Löwenzahn", "bus, coach"], spec)


@by_name("states")
def test_states_of_the_vectors_are_what_python_writes(case):
    content = base64.b64decode(case["base64"])
    model, state = np.array(case["model"], np.int32), np.array(case["numbers"], np.float32)
    assert learning.packed(model, state) == content
    found = learning.unpacked(content, len(state))
    np.testing.assert_array_equal(found["model"], model)
    np.testing.assert_array_equal(found["state"], state)


# The files.


def without_text(code):
    """Kotlin without its comments and strings."""
    kept = r'"(?:\\.|[^"\\\n])*"'
    return re.sub(rf"{kept}|//[^\n]*|/\*.*?\*/", "", code, flags=re.DOTALL)


@pytest.mark.parametrize("path", files(".kts", ".kt"), ids=lambda path: path.name)
def test_brackets_are_balanced(path):
    pairs, open_ones = {")": "(", "]": "[", "}": "{"}, []
    for character in without_text(path.read_text(encoding="utf-8")):
        if character in "([{":
            open_ones.append(character)
        elif character in ")]}":
            assert open_ones and open_ones.pop() == pairs[character]
    assert not open_ones


def test_gradle_uses_what_the_catalogue_has():
    catalogue = tomllib.loads((APP / "gradle/libs.versions.toml").read_text())
    versions = catalogue["versions"]
    entries = [*catalogue["libraries"].values(), *catalogue["plugins"].values()]
    assert {entry["version"]["ref"] for entry in entries} == set(versions)
    known = {f"libs.{name.replace('-', '.')}" for name in catalogue["libraries"]}
    known |= {f"libs.plugins.{name.replace('-', '.')}" for name in catalogue["plugins"]}
    used = set()
    for path in files(".kts"):
        used |= set(re.findall(r"\blibs(?:\.\w+)+", without_text(path.read_text())))
    assert used == known


def test_repositories_are_the_two_usual_ones():
    settings = without_text((APP / "settings.gradle.kts").read_text())
    blocks = re.findall(r"repositories\s*\{([^}]*)\}", settings)
    assert [block.split() for block in blocks] == [["google()", "mavenCentral()"]] * 2
    hosts = set()
    for path in files(".kts", ".kt", ".toml", ".xml", ".properties"):
        hosts |= set(re.findall(r"https?\\?://([^/\s\"]+)", path.read_text(encoding="utf-8")))
    assert hosts == {"maven.apache.org", "schemas.android.com", "services.gradle.org"}


def test_maven_and_gradle_build_the_same_app():
    pom = ElementTree.parse(APP / "pom.xml").getroot()
    properties = {item.tag.split("}")[1]: item.text for item in pom.find(f"{{{MAVEN}}}properties")}
    versions = tomllib.loads((APP / "gradle/libs.versions.toml").read_text())["versions"]
    for name in ("json", "junit", "robolectric"):
        assert properties[f"{name}.version"] == versions[name]
    gradle = (APP / "app/build.gradle.kts").read_text()
    # Robolectric counts Androids, the SDK its APIs.
    for name, api in (("compile", "compileSdk"), ("oldest", "minSdk")):
        android = properties[f"android.{name}"].split("-")[0]
        assert re.search(rf"{api} = (\d+)", gradle)[1] == {"9": "28", "16": "36"}[android]
    readme = (APP / "README.md").read_text(encoding="utf-8")
    assert f"TensorFlow Lite {properties['litert.version']}" in readme
    assert f"{properties['kotlin.version']}, is the one that comes" in readme


def test_packages_are_their_directories():
    sources = files(".kt")
    assert sources
    namespace = re.search(r'namespace = "(.*)"', (APP / "app/build.gradle.kts").read_text())[1]
    for path in sources:
        package = re.search(r"^package (.*)\n", path.read_text(encoding="utf-8"), re.MULTILINE)[1]
        assert package == namespace
        assert path.parent.parts[-len(package.split(".")) :] == tuple(package.split("."))


@pytest.mark.parametrize("name", PURE)
def test_pure_parts_use_no_android(name):
    path = MAIN / f"kotlin/com/example/lcnn/{name}.kt"
    imports = re.findall(r"^import (\w+\.\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(imports) <= {"java.io", "java.nio", "java.util", "kotlin.math", "org.json"}
    assert f"`{name}.kt`" in (APP / "README.md").read_text(encoding="utf-8")


def test_nothing_is_of_androidx():
    for path in files(".kt", ".kts", ".toml", ".xml"):
        if path.name != "pom.xml":
            assert "androidx" not in path.read_text(encoding="utf-8")


def resources():
    """(kind, name) of what the app defines."""
    defined = set()
    for path in files(".xml"):
        folder = path.parent.name
        if folder == "values":
            defined |= {(item.tag, item.get("name")) for item in ElementTree.parse(path).getroot()}
        elif path.parent.parent.name == "res":
            defined.add((folder, path.stem))
        defined |= {("id", name) for name in re.findall(r"@\+id/(\w+)", path.read_text())}
    return defined


def test_resources_exist():
    used = set()
    for path in files(".kt"):
        code = without_text(path.read_text(encoding="utf-8"))
        used |= set(re.findall(r"(?<!android\.)\bR\.(\w+)\.(\w+)", code))
    for path in files(".xml"):
        used |= set(re.findall(r"\"@(\w+)/([\w.]+)\"", path.read_text(encoding="utf-8")))
    assert used == resources()


def test_xml_files_parse():
    assert names(files(".xml")) == [
        "app/src/main/AndroidManifest.xml",
        "app/src/main/res/drawable/ic_launcher.xml",
        "app/src/main/res/values/strings.xml",
        "app/src/main/res/values/themes.xml",
        "pom.xml",
    ]
    for path in files(".xml"):
        ElementTree.parse(path)


def test_manifest_names_the_activity():
    manifest = ElementTree.parse(MAIN / "AndroidManifest.xml")
    (activity,) = manifest.iter("activity")
    source = MAIN / "kotlin/com/example/lcnn/MainActivity.kt"
    assert activity.get(f"{ANDROID}name") == f".{source.stem}"
    assert "class MainActivity : Activity()" in source.read_text(encoding="utf-8")
    assert activity.get(f"{ANDROID}exported") == "true"
    permissions = [item.get(f"{ANDROID}name") for item in manifest.iter("uses-permission")]
    assert permissions == ["android.permission.CAMERA"]


def test_readme_is_plain_about_what_was_done():
    readme = (APP / "README.md").read_text(encoding="utf-8")
    assert "never run on a phone, nor was an APK built" in readme
    versions = tomllib.loads((APP / "gradle/libs.versions.toml").read_text())["versions"]
    assert f"`com.google.ai.edge.litert:litert` {versions['litert']}" in readme
    wrapper = (APP / "gradle/wrapper/gradle-wrapper.properties").read_text()
    assert f"Gradle {re.search(r'gradle-([0-9.]+)-bin', wrapper)[1]} or later" in readme
    minimum = re.search(r"minSdk = (\d+)", (APP / "app/build.gradle.kts").read_text())[1]
    assert f"API {minimum}" in readme
    assert not list(APP.rglob("gradle-wrapper.jar"))

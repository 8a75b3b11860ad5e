"""The Android app of export/android is compiled, and its unit tests run on a JVM, by Maven."""

import pathlib
import re
import shutil
import subprocess
import tempfile
from xml.etree import ElementTree

import pytest

ROOT = pathlib.Path(__file__).parents[2]
APP = ROOT / "export/android"
DELEGATE = ROOT / "tf_lcnn/runtime/liblcnn_delegate.so"
# What no network looks like to Maven.
UNREACHABLE = r"Could not transfer|Unknown host|Cannot access"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mvn") is None, reason="no Maven: apt-get install maven"),
    pytest.mark.skipif(
        shutil.which("javac") is None, reason="no JDK: apt-get install default-jdk-headless"
    ),
]


def run(*command, folder=None):
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def jni(tmp_path_factory):
    """A folder with the JNI of the delegate, for this machine; None where that is not built."""
    home = pathlib.Path(shutil.which("javac")).resolve().parents[1]
    if not DELEGATE.exists() or not (home / "include/jni.h").exists():
        return None
    folder = tmp_path_factory.mktemp("jni")
    done = run(
        *("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"),
        *(f"-I{home}/include", f"-I{home}/include/linux", f"-I{ROOT}/native/src"),
        APP / "app/src/main/cpp/lcnn_jni.cpp",
        *(DELEGATE, f"-Wl,-rpath,{DELEGATE.parent}", "-o", folder / "liblcnn_jni.so"),
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def built(jni):
    """A copy of the app that Maven has compiled and tested."""
    # Not one of pytest's folders, of which the last three are kept: Androids are large.
    with tempfile.TemporaryDirectory() as folder:
        app = pathlib.Path(folder, "android")
        shutil.copytree(APP, app, ignore=shutil.ignore_patterns("target", "build", ".gradle"))
        done = run("mvn", "-q", "-B", "test", *([f"-Djni={jni}"] if jni else []), folder=app)
        if re.search(UNREACHABLE, done.stdout):
            pytest.skip(f"Maven Central cannot be reached: {done.stdout.strip()[:300]}")
        assert done.returncode == 0, done.stdout[-4000:]
        yield app


def reported(app):
    """(class, name) of each test -> whether it was skipped."""
    found = {}
    for report in (app / "target/surefire-reports").glob("TEST-*.xml"):
        for case in ElementTree.parse(report).iter("testcase"):
            key = case.get("classname").rsplit(".")[-1], case.get("name")
            found[key] = case.find("skipped") is not None
    return found


def test_the_whole_app_is_compiled(built):
    sources = {path.stem for path in (built / "app/src/main/kotlin").rglob("*.kt")}
    classes = built / "target/classes/com/example/lcnn"
    compiled = {path.stem.split("$")[0].removesuffix("Kt") for path in classes.glob("*.class")}
    assert {"MainActivity", "Camera", "LiteRt", "LcnnDelegate"} <= sources <= compiled


def test_every_unit_test_ran(built, jni):
    ran = reported(built)
    declared = set()
    for path in (built / "app/src/test/kotlin").rglob("*Test.kt"):
        names = re.findall(r"@Test\s+(?:@\S+\s+)*fun (\w+)", path.read_text(encoding="utf-8"))
        declared |= {(path.stem, name) for name in names}
    # Robolectric adds the API that a test ran on.
    assert {(kind, name.split("[")[0]) for kind, name in ran} == declared
    skipped = {kind for (kind, _), was in ran.items() if was}
    assert skipped == (set() if jni else {"LcnnDelegateTest"})


def test_the_activity_ran_on_the_oldest_android_and_a_new_one(built):
    names = [name for kind, name in reported(built) if kind == "MainActivityTest"]
    assert {name + "[28]" for name in names if "[" not in name} == {
        name for name in names if "[" in name
    }


def test_what_android_does_not_have_does_not_compile(built):
    path = built / "app/src/main/kotlin/com/example/lcnn/Unknown.kt"
    path.write_text("""package com.example.lcnn

fun a(x: android.app.Activity) = x.startInTheFuture()

fun b(x: org.tensorflow.lite.Interpreter) = x.runFaster()

// Of Java 11, which Android 9 does not have.
fun c(x: java.io.InputStream) = x.readNBytes(8)
""")
    done = run("mvn", "-q", "-B", "-o", "compile", folder=built)
    path.unlink()
    assert done.returncode != 0
    for missing in ("startInTheFuture", "runFaster", "readNBytes"):
        assert f"Unresolved reference '{missing}'" in done.stdout


@pytest.mark.skipif(shutil.which("aapt2") is None, reason="no aapt2: apt-get install aapt")
def test_manifest_and_resources_are_linked(built, tmp_path):
    main = built / "app/src/main"
    (android,) = (built / "target/androids").glob("*-9-*.jar")
    # Gradle puts the package in.
    manifest = tmp_path / "AndroidManifest.xml"
    text = (main / "AndroidManifest.xml").read_text(encoding="utf-8")
    manifest.write_text(text.replace("<manifest ", '<manifest package="com.example.lcnn" '))
    compiled = tmp_path / "resources.zip"
    done = run("aapt2", "compile", "--dir", main / "res", "-o", compiled)
    assert done.returncode == 0, done.stderr
    linked = tmp_path / "app.apk"
    done = run(
        *("aapt2", "link", "-I", android, "--manifest", manifest, "-o", linked),
        *("--min-sdk-version", "28", "--target-sdk-version", "36", compiled),
    )
    assert done.returncode == 0, done.stderr
    assert linked.stat().st_size

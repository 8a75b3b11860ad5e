"""The site builds, with every link and anchor in place; the notebooks run."""

import pathlib
import subprocess
import sys

import pytest

import tf_lcnn

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
def test_the_site_builds_and_its_links_lead_somewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="pip install -e .[docs]")
    command = sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    layers = (tmp_path / "site" / "api" / "layers" / "index.html").read_text(encoding="utf-8")
    for name in tf_lcnn.__all__:
        if name.startswith("Lookup"):
            assert f'id="{getattr(tf_lcnn, name).__module__}.{name}"' in layers
    # What their docstrings are put together of.
    assert "dictionary_size" in layers
    # Nothing is fetched from elsewhere.
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'src="https://' not in start and 'rel="stylesheet" href="https://' not in start


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="pip install -e .[docs]")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # They are kept without what they print.
    assert cells and not any(cell.outputs for cell in cells)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    shown = [output for cell in cells for output in cell.outputs]
    pages = [x.data["text/html"] for x in shown if "text/html" in x.get("data", {})]
    if path.stem in ("train", "compress"):
        assert any("<th>dense mult.</th>" in page for page in pages)
        assert list(tmp_path.glob("*.tflite"))

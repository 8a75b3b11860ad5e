"""The tables of docs/results.md that are made of what benchmarks wrote.

    python -m benchmarks.results

Each stands between `<!-- table: NAME -->` and `<!-- end of table -->` and is written anew from the
JSON files in docs/. A test compares them, so none of their figures is typed.
"""

import json
import pathlib
import re

from benchmarks.common import tables
from tf_lcnn import files, programs

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
TABLE = re.compile(r"(<!-- table: ([^>]+) -->\n\n).*?(\n\n<!-- end of table -->)", re.DOTALL)


def read(name):
    return json.loads((DOCS / name).read_text(encoding="utf-8"))


def made():
    """name -> Markdown of each table."""
    growth = {"AVX2": read("growth.json"), "AVX-512": read("growth_avx512.json")}
    decoding = {
        "Imagenette, 10 KB a photo": read("decoding_imagenette.json"),
        "ImageNet samples, 107 KB a photo": read("decoding_imagenet.json"),
    }
    learned = {"tf_flowers": read("on_device_flowers.json")}
    learned["CIFAR-10"] = read("on_device_cifar10.json")
    found = {
        "quickstart": tables.classifiers(read("quickstart.json")),
        "processors": tables.processors(read("layers.json")),
        "lookup cost": tables.lookup_cost(growth),
        "decoding": tables.decoding(decoding),
        "distributed": tables.distributed(read("distributed.json")),
        "camera frames": tables.camera_frames(read("camera_frames.json")),
        "on the device": tables.on_device(learned),
        "demosaicing": tables.demosaicing(read("mosaics.json")["demosaicing"]),
        "classes of mosaics": tables.of_mosaics(read("mosaics.json")["classes"]),
        "small numbers": tables.small_numbers(read("small_numbers.json")),
    }
    for task, panel in read("frontier.json").items():
        found[f"frontier, {task}"] = tables.frontier(panel["nets"], panel["unit"])
    return found


def written(page):
    """The page with its tables made anew.

    Raises:
        ValueError: it lacks one that is made, or names one that is not.
    """
    found = made()
    names = [name for _, name, _ in TABLE.findall(page)]
    if sorted(names) != sorted(found):
        raise ValueError(f"results.md has the tables {sorted(names)}, made are {sorted(found)}.")
    return TABLE.sub(lambda match: f"{match[1]}{found[match[2]]}{match[3]}", page)


def main():
    page = DOCS / "results.md"
    files.write(page, written(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    programs.run(main)

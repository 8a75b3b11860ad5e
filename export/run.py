"""Takes a photo or a mosaic through a .tflite that makes photos.

    python export/run.py photo.png --model=runs/espcn/model.tflite --out=large.png

It is `tf-lcnn run`; `--help` has its flags, and tf_lcnn/commands/run.py more.
"""

from tf_lcnn.commands import run

if __name__ == "__main__":
    run.start()

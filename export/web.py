"""Serves a page that times .tflite files in a phone's browser.

    python export/web.py model.tflite other.tflite

It is `tf-lcnn web`; `--help` has its flags, and tf_lcnn/commands/web.py more.
"""

from tf_lcnn.commands import web

if __name__ == "__main__":
    web.start()

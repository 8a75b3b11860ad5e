"""Exports a .keras file to .tflite, with a report and a proof.

    python export/tflite.py --model=runs/resnet_lcnn/model.keras --dataset=digits --quantize=int8

It is `tf-lcnn export`; `--help` has its flags, and tf_lcnn/commands/export.py more.
"""

from tf_lcnn.commands import export

if __name__ == "__main__":
    export.start()

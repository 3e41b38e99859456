"""Makes every fixture of tests/fixtures anew: `make.py [--check] [GENERATOR ...]`.

Each generator runs in a process of its own with a fixed hash seed, so that the order of Python's sets, which PEFT
writes into its files, is the same every time. --check makes them in a temporary folder and compares.
"""

import argparse
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FIXTURES = HERE.parents[1] / "tests/fixtures"
# pipeline before single_files, lora_files, embeddings and sdxl_text, which read what it writes.
GENERATORS = ["engine_blocks", "engine_operators", "engine_pillow", "schedulers", "unets", "autoencoders",
              "text_encoders", "tokenizer", "pipeline", "single_files", "lora_files", "key_lists", "onnx_models",
              "method_losses", "nabla_losses", "wordpiece", "preference_rewards", "published_rewards", "torch_files", "embeddings",
              "sdxl_text", "onnx_reference"]


def run(generators, folder):
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "ATTUNE_FIXTURES": str(folder)}
    for name in generators:
        print(f"-- {name}", flush=True)
        subprocess.run([sys.executable, HERE / f"{name}.py"], env=environment, check=True)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def content(path):
    """The file's bytes; a safetensors header with sorted keys, since several metadata keys are written in any order."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return json.dumps(json.loads(data[8:end]), sort_keys=True).encode() + data[end:]


def hashes(folder):
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "README.md")
    return {str(p.relative_to(folder)): hashlib.sha256(content(p)).hexdigest() for p in files}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="make nothing here; fail if the committed files differ")
    parser.add_argument("generators", nargs="*", metavar="GENERATOR", help="default: all")
    arguments = parser.parse_args()
    if not arguments.check:
        return run(arguments.generators or GENERATORS, FIXTURES)
    with tempfile.TemporaryDirectory() as folder:
        run(GENERATORS, Path(folder))
        committed, made = hashes(FIXTURES), hashes(Path(folder))
    different = sorted(k for k in committed.keys() | made.keys() if committed.get(k) != made.get(k))
    print(f"{len(made)} files made, {len(different)} differ from the committed ones: {', '.join(different) or 'none'}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()

"""Makes every fixture of tests/fixtures anew: `make.py [--check] [GENERATOR ...]`.

Each generator runs in a process of its own with a fixed hash seed, so that the order of Python's sets, which PEFT
writes into its files, is the same every time. --check makes them in a temporary folder and compares: it fails unless every file
is there and is the committed one, up to the rounding of another build of PyTorch or BLAS or of another processor, and
lists the files that differ by rounding. What counts as rounding: ROUNDING and KEY_BIASES below.
"""

import argparse
import json
import os
import re
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
              "method_losses", "nabla_losses", "wordpiece", "preference_rewards", "published_rewards", "measures", "torch_files",
              "embeddings", "sdxl_text", "onnx_reference", "parquet_files"]


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
        return placeless(data)
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return placeless(json.dumps(json.loads(data[8:end]), sort_keys=True).encode()) + data[end:]


def placeless(data):
    """Without the folder in which PEFT found its base model, which it writes into its files."""
    return re.sub(rb'/[^"]*(?=/pipeline_sd1/)', b"", data)


# Norm of the difference of a float tensor, relative to its own: twice what float32 PyTorch is off float64's gradients.
ROUNDING = 2e-4
# True gradients zero: both are nothing but rounding, of at most this size.
KEY_BIASES = re.compile(r"grad.*\.(k_proj|to_k)\.bias$")
NOTHING = 1e-5


def difference(committed, made):
    """What is wrong with a file that was made anew: None, "rounding", or words."""
    if content(committed) == content(made):
        return None
    if committed.suffix == ".onnx":
        return onnx_difference(committed, made)
    if committed.suffix != ".safetensors":
        return "other bytes"
    from safetensors import safe_open
    with safe_open(committed, "pt") as a, safe_open(made, "pt") as b:
        if placeless(repr(sorted((a.metadata() or {}).items())).encode()) != placeless(repr(sorted((b.metadata() or {}).items())).encode()):
            return "other metadata"
        if set(a.keys()) != set(b.keys()):
            return "other tensors"
        wrong = [k for k in a.keys() if not same(k, a.get_tensor(k), b.get_tensor(k))]
    return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "") if wrong else "rounding"


def onnx_difference(committed, made):
    """The same for a network: PyTorch's exporter computes some of its weights."""
    import onnx
    import torch
    a, b = onnx.load(committed), onnx.load(made)
    weights = [{t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in m.graph.initializer} for m in (a, b)]
    for m in (a, b):
        del m.graph.initializer[:]
    if a != b or weights[0].keys() != weights[1].keys():
        return "another network"
    wrong = [k for k, t in weights[0].items() if not same(k, t, weights[1][k])]
    return ", ".join(wrong) or "rounding"


def same(key, a, b):
    """Whether a tensor is the committed one up to rounding: integers exactly, pixels within a level."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    x, y = a.double(), b.double()
    if not a.is_floating_point():
        return bool((x - y).abs().max() <= (1 if "uint8" in key else 0)) if a.numel() else True
    if KEY_BIASES.search(key):
        return bool(max(x.abs().max(), y.abs().max()) <= NOTHING)
    return bool((x - y).norm() <= ROUNDING * x.norm())


def files(folder):
    return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "README.md"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="make nothing here; fail if the committed files differ")
    parser.add_argument("generators", nargs="*", metavar="GENERATOR", help="default: all")
    arguments = parser.parse_args()
    if not arguments.check:
        return run(arguments.generators or GENERATORS, FIXTURES)
    with tempfile.TemporaryDirectory() as folder:
        run(GENERATORS, Path(folder))
        failed = report(files(FIXTURES), files(Path(folder)))
    sys.exit(1 if failed else 0)


def report(committed, made):
    """Tells what differs. True unless it is rounding alone."""
    found = {k: difference(committed[k], made[k]) for k in sorted(committed.keys() & made.keys())}
    found |= {k: "not committed" for k in made.keys() - committed.keys()} | {k: "not made" for k in committed.keys() - made.keys()}
    rounded = [k for k, what in found.items() if what == "rounding"]
    wrong = {k: what for k, what in found.items() if what not in (None, "rounding")}
    print(f"{len(made)} files made; {len(rounded)} differ from the committed ones by rounding: {', '.join(rounded) or 'none'}")
    print(f"{len(wrong)} differ otherwise{':' if wrong else ''}", *(f"{k}: {what}" for k, what in sorted(wrong.items())), sep="\n  ")
    return bool(wrong)


if __name__ == "__main__":
    main()

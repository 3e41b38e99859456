"""float8.safetensors and torch_*: files of torch.save in every format that people have, and 8-bit floats.

Every torch_* file holds the same tensors (see state()), which torch_expected.safetensors has as plain copies.
"""

import collections
import re
import sys
import types

import torch
from safetensors.torch import save_file

from common import FIXTURES, tensor


def state():
    """Contiguous and transposed tensors, a slice, two views of one storage, half precisions, integers, a parameter."""
    whole = tensor(700, 4, 6)
    return collections.OrderedDict(
        plain=tensor(701, 2, 3), transposed=whole.T, part=whole[1:3, ::2], row=whole[2], half=tensor(702, 5).half(),
        brain=tensor(703, 5).bfloat16(), long=torch.tensor([2**40, -1]), flag=torch.tensor([True, False]),
        scalar=torch.tensor(3.5), empty=torch.zeros(0, 4), double=tensor(704, 3).double(),
        weight=torch.nn.Parameter(tensor(705, 2, 2)))


def lightning():
    """A checkpoint as PyTorch Lightning wrote it: classes of the trainer, of numpy and of argparse beside the weights."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    for package in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        sys.modules[package] = types.ModuleType(package)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    sys.modules[name] = module
    callback = module.ModelCheckpoint()
    callback.best = {"score": torch.tensor(0.1), "path": "x.ckpt"}
    return {"epoch": 6, "global_step": 875000, "pytorch-lightning_version": "1.4.2", "state_dict": state(),
            "callbacks": {module.ModelCheckpoint: {"best_model_score": torch.tensor(0.1)}}, "loops": [callback],
            "lr_schedulers": [{"last": collections.Counter(a=1), "seen": {1, 2}, "range": range(3), "c": 1 + 2j}],
            "hyper_parameters": types.SimpleNamespace(lr=1e-4, betas=(0.9, 0.999), note=b"bytes", big=2**70),
            "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": tensor(706, 3)}}}]}


def write(name, value, **options):
    path = FIXTURES / name
    torch.save(value, path, **options)
    print(f"{path.name}: {path.stat().st_size / 1024:.1f} KB")


def write_legacy(name, value, **options):
    """Before 1.6: its storages are named by their addresses and sorted by them, so they are renamed by their order."""
    torch.serialization.sorted = list
    write(name, value, _use_new_zipfile_serialization=False, **options)
    del torch.serialization.sorted
    data = (FIXTURES / name).read_bytes()
    addresses = [a.decode() for a in re.findall(rb"(?<=[\0\x0e])\d{14}(?![\d])", data)]
    for i, address in enumerate(dict.fromkeys(addresses)):
        data = data.replace(address.encode(), b"%014d" % i)
    (FIXTURES / name).write_bytes(data)


def float8():
    bits = torch.arange(256, dtype=torch.uint8)
    tensors = {}
    for name, dtype in (("e4m3fn", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        tensors[name] = bits.clone().view(dtype)
        tensors[f"{name}.float32"] = bits.view(dtype).float()
    save_file(tensors, FIXTURES / "float8.safetensors")


def make():
    float8()
    plain = {k: v.detach().clone().contiguous() for k, v in state().items()}
    save_file(plain, FIXTURES / "torch_expected.safetensors")
    for protocol in (2, 3, 4, 5):
        write(f"torch_zip{protocol}.pt", state(), pickle_protocol=protocol)
    for protocol in (1, 2, 4):
        write_legacy(f"torch_legacy{protocol}.pt", state(), pickle_protocol=protocol)
    write("torch_lightning.ckpt", lightning())
    write_legacy("torch_lightning_legacy.ckpt", lightning())


if __name__ == "__main__":
    make()

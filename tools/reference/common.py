"""What every generator shares: seeds, random weights, gradients and the one way a fixture file is written."""

import json
import math
import os
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

import numpy as np
import torch
from safetensors.torch import save_file

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

FIXTURES = Path(os.environ.get("ATTUNE_FIXTURES", Path(__file__).parents[2] / "tests/fixtures"))


def tensor(seed, *shape, scale=1.0):
    """Standard-normal float32 tensor that depends on the seed and shape alone."""
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape).astype(np.float32)) * scale


def randomise(module, seed):
    """Fills every parameter from one seed: matrices scaled by fan-in, norm weights near 1, biases near 0."""
    rng = np.random.RandomState(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.from_numpy(np.asarray(rng.randn(*p.shape), np.float32))
            if p.dim() >= 2:
                fan_in = p.shape[1] if p.dim() == 2 else p[0].numel()
                p.copy_(noise * (0.3 if "embedding" in name and "time" not in name else 1 / math.sqrt(fan_in)))
            else:
                p.copy_(0.1 * noise + (1.0 if name.endswith("weight") or name == "weight" else 0.0))
        for name, b in module.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(torch.from_numpy(0.1 * rng.randn(*b.shape).astype(np.float32)))
            elif name.endswith("running_var"):
                b.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, b.shape).astype(np.float32)))
    return module.eval()


def differentiate(outputs, targets, seed=9000):
    """Gradients of sum over outputs of sum(out * cotangent).

    outputs and targets map names to tensors; returns the keys `out.*`, `cotangent.*` and `grad.<target name>`.
    """
    cotangents = {k: tensor(seed + i, *v.shape) for i, (k, v) in enumerate(outputs.items())}
    loss = sum((v * cotangents[k]).sum() for k, v in outputs.items())
    grads = torch.autograd.grad(loss, list(targets.values()))
    result = {f"out.{k}": v for k, v in outputs.items()}
    result |= {f"cotangent.{k}": v for k, v in cotangents.items()}
    return result | {f"grad.{k}": g for k, g in zip(targets, grads)}


def prefixed(prefix, tensors):
    return {f"{prefix}{k}": v for k, v in tensors.items()}


def save(name, tensors, meta):
    """Writes tests/fixtures/<name>.safetensors; meta goes, as JSON, under the single metadata key `fixture`.

    One key only, because safetensors writes several metadata keys in an order that changes from run to run.
    """
    path = FIXTURES / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    for key, value in plain.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name}: {key} is not finite")
    save_file(plain, path, metadata={"fixture": json.dumps(meta, sort_keys=True)})
    print(f"{path.relative_to(FIXTURES)}: {len(plain)} tensors, {path.stat().st_size / 1024:.0f} KB")

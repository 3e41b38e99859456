"""engine_ops_*.safetensors: operators for which PyTorch is the authority; several cases a file.

A case's tensors are `<case>/in.*`, `<case>/out.y`, `<case>/cotangent.y`, `<case>/grad.in.*`; the metadata's `cases`
holds its operator and attributes.
"""

import numpy as np
import torch
import torch.nn.functional as F

from common import differentiate, prefixed, save, tensor


class Cases:
    """Collects the cases of one file."""

    def __init__(self):
        self.tensors, self.meta = {}, {}

    def add(self, name, op, run, inputs, **attributes):
        """inputs maps names to shapes or ready tensors; floating inputs get gradients; run takes them in that order."""
        seed = 1000 * (len(self.meta) + 1)
        values = {k: tensor(seed + i, *v) if isinstance(v, tuple) else v for i, (k, v) in enumerate(inputs.items())}
        leaves = {f"in.{k}": v.requires_grad_() for k, v in values.items() if v.is_floating_point()}
        result = prefixed("in.", values) | differentiate({"y": run(*values.values())}, leaves, seed + 500)
        self.tensors |= prefixed(f"{name}/", result)
        self.meta[name] = {"op": op, **attributes}

    def save(self, name):
        save(f"engine_ops_{name}", self.tensors, {"cases": self.meta})


def resize():
    c = Cases()
    sizes = {"up": ((5, 7), (12, 10)), "down": ((12, 10), (5, 4)), "mixed": ((6, 9), (9, 4))}
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        for antialias in (False, True) if mode in ("bilinear", "bicubic") else (False,):
            for label, (source, size) in sizes.items():
                name = f"{mode}_{label}{'_antialias' if antialias else ''}"
                corners = {} if mode.startswith("nearest") else {"align_corners": False, "antialias": antialias}
                run = lambda x: F.interpolate(x, size=size, mode=mode, **corners)
                c.add(name, "interpolate", run, {"x": (2, 3, *source)}, mode=mode, antialias=antialias, size=size)
    c.save("resize")


def convolution():
    c = Cases()
    conv = [  # name, input, weight, bias, attributes
        ("same", (2, 4, 7, 6), (5, 4, 3, 3), True, dict(padding=1)),
        ("pointwise", (2, 4, 5, 6), (6, 4, 1, 1), True, {}),
        ("stride", (2, 4, 7, 8), (5, 4, 3, 3), True, dict(stride=2, padding=1)),
        ("stride_no_pad", (2, 3, 8, 8), (4, 3, 4, 4), False, dict(stride=4)),
        ("dilation", (2, 3, 9, 8), (4, 3, 3, 3), True, dict(padding=2, dilation=2)),
        ("groups", (2, 6, 6, 5), (4, 3, 3, 3), True, dict(padding=1, groups=2)),
        ("depthwise", (2, 4, 7, 7), (4, 1, 5, 5), True, dict(stride=2, padding=2, groups=4)),
        ("uneven", (1, 2, 8, 7), (3, 2, 3, 2), True, dict(stride=(2, 1), padding=(0, 1), dilation=(1, 2))),
    ]
    transposed = [
        ("transposed", (2, 4, 4, 5), (4, 3, 4, 4), True, dict(stride=2, padding=1)),
        ("transposed_output_padding", (2, 4, 4, 3), (4, 3, 3, 3), True, dict(stride=2, padding=1, output_padding=1)),
        ("transposed_groups", (2, 4, 4, 4), (4, 3, 3, 3), False, dict(groups=2, dilation=2, padding=1)),
    ]
    for op, cases in ((F.conv2d, conv), (F.conv_transpose2d, transposed)):
        for name, x, w, bias, attributes in cases:
            out_channels = w[0] if op is F.conv2d else w[1] * attributes.get("groups", 1)
            inputs = {"x": x, "weight": w} | ({"bias": (out_channels,)} if bias else {})
            run = lambda x, w, b=None: op(x, w, b, **attributes)
            c.add(name, op.__name__, run, inputs, **attributes)
    # The strided convolution of diffusers' VAE encoder pads only at the right and bottom.
    run = lambda x, w: F.conv2d(F.pad(x, (0, 1, 0, 1)), w, stride=2)
    c.add("asymmetric_pad", "conv2d", run, {"x": (2, 3, 6, 8), "weight": (4, 3, 3, 3)}, stride=2, pads=[0, 0, 1, 1])
    c.save("convolution")


def normalisation():
    c = Cases()
    affine = lambda n: {"weight": (n,), "bias": (n,)}
    group = lambda x, w, b: F.group_norm(x, 4, w, b, 1e-6)
    c.add("group_norm", "group_norm", group, {"x": (2, 8, 5, 3)} | affine(8), groups=4, eps=1e-6)
    layer = lambda x, w, b: F.layer_norm(x, (8,), w, b, 1e-5)
    c.add("layer_norm", "layer_norm", layer, {"x": (2, 5, 8)} | affine(8), eps=1e-5, axes=[-1])
    plain = lambda x: F.layer_norm(x, (5, 8), None, None, 1e-5)
    c.add("layer_norm_two_axes", "layer_norm", plain, {"x": (2, 5, 8)}, eps=1e-5, axes=[-2, -1])
    rms = lambda x, w: F.rms_norm(x, (8,), w, 1e-6)
    c.add("rms_norm", "rms_norm", rms, {"x": (2, 5, 8), "weight": (8,)}, eps=1e-6)
    stats = {"mean": tensor(7, 6, scale=0.3), "variance": tensor(8, 6).abs() + 0.5}
    frozen = lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b, False, 0.0, 1e-5)
    inputs = {"x": (3, 6, 4, 4)} | affine(6)
    c.add("batch_norm", "batch_norm", lambda x, w, b: frozen(x, w, b, *stats.values()), inputs, eps=1e-5)
    c.tensors |= prefixed("batch_norm/in.", stats)
    batch = lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.0, 1e-5)
    c.add("batch_norm_training", "batch_norm", batch, inputs, eps=1e-5, training=True)
    c.add("l2_normalise", "normalize", lambda x: F.normalize(x, dim=-1), {"x": (3, 7)}, axis=-1, eps=1e-12)
    c.save("norm")


def elementwise():
    c = Cases()
    unary = {
        "gelu_erf": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu,
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid,
        "softplus": F.softplus, "mish": F.mish, "elu": F.elu, "relu": F.relu, "relu6": F.relu6,
        "sigmoid": torch.sigmoid, "logsigmoid": F.logsigmoid,
        "tanh": torch.tanh, "erf": torch.erf, "sin": torch.sin, "cos": torch.cos, "exp": torch.exp,
    }
    for name, run in unary.items():
        c.add(name, name, run, {"x": (3, 16)})
    c.add("leaky_relu", "leaky_relu", lambda x: F.leaky_relu(x, 0.1), {"x": (3, 16)}, slope=0.1)
    c.add("clamp", "clamp", lambda x: x.clamp(-0.5, 0.75), {"x": (3, 16)}, min=-0.5, max=0.75)
    wide = tensor(77, 3, 16, scale=12.0)  # where naive formulae overflow or cancel
    for name in ("gelu_erf", "gelu_tanh", "softplus", "logsigmoid", "relu6"):
        c.add(f"{name}_wide", name, unary[name], {"x": wide.clone()})
    for name, run in (("pow", torch.pow), ("log", lambda x: x.log()), ("rsqrt", torch.rsqrt)):
        extra = {"exponent": (1, 8)} if name == "pow" else {}
        c.add(name, name, run, {"x": tensor(78, 3, 8).abs() + 0.2} | extra)
    c.save("elementwise")


def reduction():
    c = Cases()
    for name, run in {
        "logsumexp": lambda x: torch.logsumexp(x, (1, 2)), "softmax": lambda x: F.softmax(x, 1),
        "log_softmax": lambda x: F.log_softmax(x, -1), "cumsum": lambda x: torch.cumsum(x, 1),
        "variance": lambda x: x.var((0, 2)), "variance_biased": lambda x: x.var((0, 2), correction=0),
        "norm": lambda x: x.norm(dim=-1), "amax": lambda x: x.amax((1, 2)), "mean": lambda x: x.mean((0, 2)),
    }.items():
        c.add(name, name, run, {"x": (3, 4, 5)})
    c.add("logsumexp_wide", "logsumexp", lambda x: torch.logsumexp(x, -1), {"x": tensor(79, 4, 6, scale=100.0)})
    pools = {
        "avg_pool": (F.avg_pool2d, dict(kernel_size=3, stride=2, padding=1)),
        "avg_pool_exclude_pad": (F.avg_pool2d, dict(kernel_size=3, stride=2, padding=1, count_include_pad=False)),
        "avg_pool_ceil": (F.avg_pool2d, dict(kernel_size=2, stride=2, ceil_mode=True)),
        "max_pool": (F.max_pool2d, dict(kernel_size=3, stride=2, padding=1)),
        "adaptive_avg_pool": (F.adaptive_avg_pool2d, dict(output_size=(2, 3))),
    }
    for name, (op, attributes) in pools.items():
        c.add(name, op.__name__, lambda x: op(x, **attributes), {"x": (2, 3, 7, 8)}, **attributes)
    for mode in ("constant", "reflect", "replicate"):
        pads = (1, 2, 3, 0)  # left, right, top, bottom
        run = lambda x: F.pad(x, pads, mode=mode)
        c.add(f"pad_{mode}", "pad", run, {"x": (2, 2, 5, 4)}, mode=mode, left_right_top_bottom=pads)
    ids = torch.tensor([[0, 5, 5], [2, 6, 0]])
    c.add("embedding", "embedding", lambda ids, w: F.embedding(ids, w), {"ids": ids, "weight": (7, 4)})
    gather = lambda x, i: torch.gather(x, 1, i)
    c.add("gather", "gather", gather, {"x": (2, 7), "index": ids}, axis=1)
    scatter = lambda x, i, src: x.scatter_add(1, i, src)
    c.add("scatter_add", "scatter_add", scatter, {"x": (2, 7), "index": ids, "src": (2, 3)}, axis=1)
    c.save("reduction")


def attention():
    c = Cases()
    sdpa = F.scaled_dot_product_attention
    shapes = {"q": (2, 3, 6, 8), "k": (2, 3, 9, 8), "v": (2, 3, 9, 8)}
    square = {"q": (2, 3, 7, 8), "k": (2, 3, 7, 8), "v": (2, 3, 7, 8)}
    keep = torch.from_numpy(np.random.RandomState(3).rand(2, 1, 6, 9) > 0.3)
    c.add("plain", "attention", sdpa, shapes)
    c.add("scale", "attention", lambda q, k, v: sdpa(q, k, v, scale=0.2), shapes, scale=0.2)
    c.add("causal", "attention", lambda q, k, v: sdpa(q, k, v, is_causal=True), square, causal=True)
    c.add("float_mask", "attention", lambda q, k, v, m: sdpa(q, k, v, attn_mask=m), shapes | {"mask": (2, 1, 6, 9)})
    c.add("bool_mask", "attention", lambda q, k, v, m: sdpa(q, k, v, attn_mask=m), shapes | {"mask": keep})
    c.save("attention")


def make():
    for family in (resize, convolution, normalisation, elementwise, reduction, attention):
        family()


if __name__ == "__main__":
    make()

"""Runs the cases of bench/cases.ts in PyTorch, so that both are timed in turn in one call. Plain torch, no diffusers.

Reads one JSON request a line and answers each with one JSON line:
  {"do": "open", "case": {...}, "mode": "forward" | "training"}  -> {"ok": true}
  {"do": "run", "count": n}                                      -> {"milliseconds": [...]}
With the argument `peak`, reads one open request and answers with the peak memory of three runs: {"bytes": n}.
"""
import json
import os
import sys
import time

import torch
import torch.nn.functional as F

if os.environ.get("ATTUNE_BENCH_THREADS"):
    torch.set_num_threads(int(os.environ["ATTUNE_BENCH_THREADS"]))

HEADS, RANK, TIME, WORDS, WIDTH = 8, 8, 1280, 77, 768


def frozen(*shape):
    fan = max(1, torch.Size(shape[1:]).numel())
    return torch.randn(*shape) / fan**0.5


def trained(*shape):
    return (torch.randn(*shape) * 0.02).requires_grad_()


class Case:
    """run() does one forward pass, or a forward and a backward pass with gradients by x and by what is trained."""

    def __init__(self, spec, training):
        self.x, self.f, self.params = KINDS[spec["kind"]](spec)
        self.training = training
        with torch.no_grad():
            self.g = torch.randn_like(self.f(self.x))
        self.x.requires_grad_(training)

    def run(self):
        if not self.training:
            with torch.no_grad():
                return self.f(self.x)
        return torch.autograd.grad(self.f(self.x), [self.x, *self.params], self.g)


def linear(s):
    w, b = frozen(s["out"], s["channels"]), frozen(s["out"])
    return torch.randn(s["batch"] * s["size"], s["channels"]), lambda x: F.linear(x, w, b), []


def convolution(s):
    c, k = s["channels"], s["kernel"]
    w, b = frozen(c, c, k, k), frozen(c)
    return image(s), lambda x: F.conv2d(x, w, b, padding=k // 2), []


def image(s):
    return torch.randn(s["batch"], s["channels"], s["size"], s["size"])


def group_norm_silu(s):
    a, b = frozen(s["channels"]), frozen(s["channels"])
    return image(s), lambda x: F.silu(F.group_norm(x, 32, a, b)), []


def layer_norm(s):
    a, b = frozen(s["channels"]), frozen(s["channels"])
    return torch.randn(s["batch"], s["size"], s["channels"]), lambda x: F.layer_norm(x, x.shape[-1:], a, b), []


def softmax(s):
    return torch.randn(s["batch"] * HEADS, s["size"], s["size"]), lambda x: F.softmax(x, -1), []


def geglu(s):
    def f(x):
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)

    return torch.randn(s["batch"], s["size"], 8 * s["channels"]), f, []


def attend(q, k, v):
    heads = lambda t: t.view(*t.shape[:2], HEADS, -1).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(heads(q), heads(k), heads(v))
    return mixed.transpose(1, 2).reshape(q.shape)


def attention(s):
    return torch.randn(s["batch"], s["size"], s["channels"]), lambda x: attend(x, x, x), []


def residual(s):
    c = s["channels"]
    a1, b1, a2, b2 = (frozen(c) for _ in range(4))
    w1, w2, c1, c2 = frozen(c, c, 3, 3), frozen(c, c, 3, 3), frozen(c), frozen(c)
    wt, bt, time_embedding = frozen(c, TIME), frozen(c), torch.randn(1, TIME)

    def f(x):
        h = F.conv2d(F.silu(F.group_norm(x, 32, a1, b1)), w1, c1, padding=1)
        h = h + F.linear(F.silu(time_embedding), wt, bt)[:, :, None, None]
        return F.conv2d(F.silu(F.group_norm(h, 32, a2, b2)), w2, c2, padding=1) + x

    return image(s), f, []


def transformer(s):
    c, params = s["channels"], []

    def projection(width, bias=False):
        w, b = frozen(c, width), frozen(c) if bias else None
        down, up = trained(RANK, width), trained(c, RANK)
        params.extend([down, up])
        return lambda t: F.linear(t, w, b) + F.linear(F.linear(t, down), up)

    def attention_layer(width):
        q, k, v, out = projection(c), projection(width), projection(width), projection(c, True)
        return lambda t, to: out(attend(q(t), k(to), v(to)))

    def norm():
        a, b = frozen(c), frozen(c)
        return lambda t: F.layer_norm(t, (c,), a, b)

    n1, n2, n3, own, cross = norm(), norm(), norm(), attention_layer(c), attention_layer(WIDTH)
    w1, b1, w2, b2 = frozen(8 * c, c), frozen(8 * c), frozen(c, 4 * c), frozen(c)
    context = torch.randn(s["batch"], WORDS, WIDTH)

    def f(x):
        h = n1(x)
        x = x + own(h, h)
        x = x + cross(n2(x), context)
        value, gate = F.linear(n3(x), w1, b1).chunk(2, -1)
        return x + F.linear(value * F.gelu(gate), w2, b2)

    return torch.randn(s["batch"], s["size"], c), f, params


KINDS = {
    "linear": linear,
    "convolution": convolution,
    "groupNormSilu": group_norm_silu,
    "layerNorm": layer_norm,
    "softmax": softmax,
    "geglu": geglu,
    "attention": attention,
    "residual": residual,
    "transformer": transformer,
}


def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def peak(request):
    case = Case(request["case"], request["mode"] == "training")
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
    for _ in range(3):
        case.run()
    return {"bytes": status("VmHWM") - before}


def serve():
    case = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "open":
            case = Case(request["case"], request["mode"] == "training")
            case.run()
            answer = {"ok": True}
        else:
            times = []
            for _ in range(request["count"]):
                start = time.perf_counter()
                case.run()
                times.append(1000 * (time.perf_counter() - start))
            answer = {"milliseconds": times}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "peak":
        print(json.dumps(peak(json.loads(sys.stdin.readline()))))
    else:
        print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
        serve()

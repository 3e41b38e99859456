"""method_losses.safetensors: the losses of the policy-gradient and preference methods, in float64 on a tiny network.

The network is that of tests/methods/tiny-task.ts. Losses are written down from the papers' equations and the published
code's conventions (spec/algorithms.md): means over elements, DDIM as in DDPO's code. Times, noise and the chosen samples
are inputs, so that nothing depends on random numbers.
"""

import math

import torch
from diffusers import DDIMScheduler

from common import prefixed, save, tensor

BATCH, HIDDEN, SHAPE = 4, 6, (4, 3, 2, 2)
PROMPTS = ["a cat", "a dog!", "a much longer prompt", "an elephant"]
TARGET = torch.tensor([[len(p) / 10] for p in PROMPTS], dtype=torch.float64)
SCHEDULER = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
                          set_alpha_to_one=False, steps_offset=1)
ALPHAS = SCHEDULER.alphas_cumprod.double()


def parameters(seed, scale):
    shapes = {"w1": (HIDDEN, 12), "b1": (HIDDEN,), "w2": (12, HIDDEN), "time": (HIDDEN,)}
    return {k: tensor(seed + i, *s, scale=scale) for i, (k, s) in enumerate(shapes.items())}


REFERENCE = parameters(100, 0.4)
TUNED = {k: REFERENCE[k] + v for k, v in parameters(200, 0.02).items()}


def network(p, x, t):
    clock = t.double()[:, None] * 1e-3
    hidden = torch.tanh(x.reshape(BATCH, 12) @ p["w1"].T + p["b1"] + clock * p["time"] + 0.1 * TARGET)
    return (hidden @ p["w2"].T).reshape(x.shape) + 0.5 * x


def column(values):
    return values.reshape(-1, 1, 1, 1)


def noised(clean, noise, t):
    bar = column(ALPHAS[t])
    return bar.sqrt() * clean + (1 - bar).sqrt() * noise


def error(p, clean, noise, t):
    return (noise - network(p, noised(clean, noise, t), t)).square().mean(dim=(1, 2, 3))


def transition(x, output, t, previous):
    """Mean and deviation of the eta = 1 step."""
    bar, next_bar = column(ALPHAS[t]), column(ALPHAS[previous])
    std = ((1 - next_bar) / (1 - bar) * (1 - bar / next_bar)).sqrt()
    clean = (x - (1 - bar).sqrt() * output) / bar.sqrt()
    return next_bar.sqrt() * clean + (1 - next_bar - std**2).sqrt() * output, std


def log_probability(x, following, output, t, previous):
    mean, std = transition(x, output, t, previous)
    density = -(following - mean) ** 2 / (2 * std**2) - std.log() - math.log(math.sqrt(2 * math.pi))
    return density.mean(dim=(1, 2, 3))


def with_gradients(loss, tuned, **extras):
    gradients = torch.autograd.grad(loss, list(tuned.values()), retain_graph=True)
    return {"loss": loss} | extras | prefixed("grad.", dict(zip(tuned, gradients)))


def ddpo(tuned, t, previous):
    x, z, advantage = tensor(1, *SHAPE).double(), tensor(2, *SHAPE).double(), tensor(3, BATCH).double()
    sampled = {k: v.double() + 0.002 * tensor(300 + i, *v.shape).double() for i, (k, v) in enumerate(TUNED.items())}
    old = network(sampled, x, t)
    mean, std = transition(x, old, t, previous)
    following = mean + std * z
    now = log_probability(x, following, network(tuned, x, t), t, previous)
    ratio = (now - log_probability(x, following, old, t, previous)).exp()
    cases = {"x": x, "next": following, "output": old, "advantage": advantage}
    for name, clip in {"clipped": 1e-4, "wide": 0.1}.items():
        loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean()
        cases |= prefixed(f"{name}/", with_gradients(loss, tuned, ratio=ratio))
    assert 0 < (ratio - 1).abs().gt(1e-4).sum() and (ratio - 1).abs().max() < 0.1
    return cases | prefixed("score/", with_gradients((-advantage * now).mean(), tuned))


def d3po(tuned, reference, t, previous, beta=0.1, epsilon=0.1):
    sides, logs = {}, []
    for i, side in enumerate(["winner", "loser"]):
        x, following = tensor(11 + i, *SHAPE).double(), None
        mean, std = transition(x, network(reference, x, t), t, previous)
        following = mean + std * tensor(13 + i, *SHAPE).double()
        ratio = torch.exp(log_probability(x, following, network(tuned, x, t), t, previous)
                          - log_probability(x, following, network(reference, x, t), t, previous).detach())
        logs.append(ratio.clamp(1 - epsilon, 1 + epsilon).log())
        sides |= {f"{side}/x": x, f"{side}/next": following}
    margin = beta * (logs[0] - logs[1])
    return sides | with_gradients(-torch.log(torch.sigmoid(margin)).mean(), tuned, margin=margin)


def dpo(tuned, reference, t, beta=200.0):
    winners, losers, noise = (tensor(21 + i, *SHAPE).double() for i in range(3))
    model = error(tuned, winners, noise, t) - error(tuned, losers, noise, t)
    base = (error(reference, winners, noise, t) - error(reference, losers, noise, t)).detach()
    inside = -0.5 * beta * (model - base)
    loss = -torch.nn.functional.logsigmoid(inside).mean()
    return {"winners": winners, "losers": losers, "noise": noise} | with_gradients(loss, tuned, inside=inside)


def denoising(tuned, t):
    clean, noise = tensor(31, *SHAPE).double(), tensor(32, *SHAPE).double()
    return {"clean": clean, "noise": noise} | with_gradients(error(tuned, clean, noise, t).mean(), tuned)


def reward(x):
    flat = x.reshape(BATCH, 12)
    return (flat.sin() - 0.1 * (flat - TARGET) ** 2).sum(dim=1)


def walk(tuned, reference, clean, noise, times, m, detach):
    """Mean step reward, mean error of the tuned network, and of the reference at every and at the first step."""
    SCHEDULER.set_timesteps(25)
    x = noised(clean, noise, times)
    rows = {k: [[] for _ in range(BATCH)] for k in ("reward", "loss", "reference")}
    for k in range(m):
        t = times - 40 * k
        at = t.clamp(min=0)
        x = x.detach() if detach else x
        output, base = network(tuned, x, at), network(reference, x, at)
        following = x.clone()
        for i in range(BATCH):
            if t[i] < 0:
                continue
            step = SCHEDULER.step(output[i], int(t[i]), x[i], eta=0.0)
            following[i] = step.prev_sample
            clean_now = x.detach().clone()
            clean_now[i] = step.pred_original_sample.detach()
            rows["reward"][i].append(reward(clean_now)[i])
            rows["loss"][i].append((output[i] - noise[i]).square().mean())
            rows["reference"][i].append((base[i] - noise[i]).square().mean().detach())
        x = following
    means = {k: torch.stack([torch.stack(r).mean() for r in v]) for k, v in rows.items()}
    return means | {"first": torch.stack([r[0] for r in rows["reference"]])}


def sharpening(tuned, reference, times, n=3, m=3, beta=5.0):
    SCHEDULER.alphas_cumprod = ALPHAS
    SCHEDULER.final_alpha_cumprod = ALPHAS[0]
    cleans = [tensor(41 + i, *SHAPE).double() for i in range(n)]
    noises = [tensor(51 + i, *SHAPE).double() for i in range(n)]
    cases = {f"clean.{i}": c for i, c in enumerate(cleans)} | {f"noise.{i}": e for i, e in enumerate(noises)}
    items = torch.arange(BATCH)
    for name, detach in {"through": False, "detached": True}.items():
        # SFT: one picture, several noises.
        walks = [walk(tuned, reference, cleans[0], e, times, m, detach) for e in noises]
        score, loss = (torch.stack([w[k] for w in walks]) for k in ("reward", "loss"))
        cases |= prefixed(f"sft_{name}/", with_gradients(loss[score.argmax(0), items].mean(), tuned, reward=score))
    # RLHF: each noise has its own sample.
    walks = [walk(tuned, reference, c, e, times, m, False) for c, e in zip(cleans, noises)]
    score, loss, every, first = (torch.stack([w[k] for w in walks]) for k in ("reward", "loss", "reference", "first"))
    best, worst = score.argmax(0), score.argmin(0)
    pair = lambda v: v[best, items] - v[worst, items]
    for name, base in {"every": every, "first": first}.items():
        logits = beta * (pair(base) - pair(loss))
        inside = -torch.nn.functional.logsigmoid(logits - pair(score)).mean()
        outside = -(torch.nn.functional.logsigmoid(logits) - pair(score)).mean()
        cases |= prefixed(f"inside_{name}/", with_gradients(inside, tuned))
        cases |= prefixed(f"outside_{name}/", with_gradients(outside, tuned, logits=logits))
    return cases


def make():
    tuned = {k: v.double().requires_grad_() for k, v in TUNED.items()}
    reference = {k: v.double() for k, v in REFERENCE.items()}
    # Steps of a plan of ten, and times anywhere (the last two leave no room for three steps of 40).
    steps, times = torch.tensor([901, 501, 101, 1]), torch.tensor([730, 430, 70, 30])
    previous = (steps - 100).clamp(min=0)
    tensors = prefixed("tuned.", TUNED) | prefixed("reference.", REFERENCE)
    tensors |= prefixed("ddpo/", ddpo(tuned, steps, previous))
    tensors |= prefixed("d3po/", d3po(tuned, reference, steps, previous))
    tensors |= prefixed("dpo/", dpo(tuned, reference, times))
    tensors |= prefixed("denoising/", denoising(tuned, times))
    tensors |= prefixed("sharpening/", sharpening(tuned, reference, times))
    meta = {"prompts": PROMPTS, "steps": steps.tolist(), "previous": previous.tolist(), "times": times.tolist(),
            "clip": {"clipped": 1e-4, "wide": 0.1}, "d3po": {"beta": 0.1, "epsilon": 0.1}, "dpo": {"beta": 200},
            "sharpening": {"n": 3, "m": 3, "gridSteps": 25, "beta": 5}}
    save("method_losses", {k: v.float() for k, v in tensors.items()}, meta)


if __name__ == "__main__":
    make()

"""nabla_losses.safetensors: the losses of ∇-DB and RSM on a batch of transitions, in float64 on the network of method_losses.

Scores are derivatives of log densities taken by autograd, not the formulae that the TypeScript has written out.
"""

import torch

from common import prefixed, save, tensor
from method_losses import ALPHAS, BATCH, PROMPTS, REFERENCE, SHAPE, TUNED, column, network, transition

CASES = {
    "published": {"flowGradient": "both", "reverseGradient": "flow-only"},
    "full": {"flowGradient": "both", "reverseGradient": "full"},
    "default": {"flowGradient": "reverse", "reverseGradient": "flow-only"},
    "path": {"flowGradient": "reverse", "reverseGradient": "flow-only", "path": 0.75},
    "no-flow": {"flow": False},
    "weak-prior": {"flow": False, "priorStrength": 0.5},
    "sigma": {"flowGradient": "both", "reverseGradient": "full", "weighting": "sigma"},
    "rsm": {"flow": False, "weighting": "sigma"},
    "non-residual": {"flowGradient": "both", "reverseGradient": "full", "residual": False},
}
STRENGTH = {"trust": 3.0, "reverse": 0.5}


def density(x, following, p, t, previous):
    mean, std = transition(x, network(p, x, t), t, previous)
    return (-(following - mean) ** 2 / (2 * std**2)).sum()


def noising(x, following, t, previous):
    ratio = (column(ALPHAS[t]) / column(ALPHAS[previous])).sqrt()
    return (-(x - ratio * following) ** 2 / (2 * (1 - ratio**2))).sum()


def losses(options, tuned, reference, flow, inputs, t, previous):
    x, following = (inputs[k].clone().requires_grad_() for k in ("x", "next"))
    last = column((previous == 0).double())
    prior = (lambda: noising(x, following, t, previous)) if options.get("residual") is False else (
        lambda: density(x, following, reference, t, previous))
    strength = options.get("priorStrength", 1) if options.get("residual", True) else 1
    derivative = lambda f, by: torch.autograd.grad(f(), by, create_graph=True)[0]
    ours = lambda: density(x, following, tuned, t, previous)
    std = transition(x, x, t, previous)[1]
    even = (lambda d: d * std) if options.get("weighting") == "sigma" else (lambda d: d)
    g = lambda v: (v.reshape(BATCH, 12) @ flow.T).reshape(v.shape)
    with_flow = options.get("flow", True)
    path = options.get("path", 0)
    score = inputs["rewardNext"]
    if with_flow:
        term = g(following) * (1 - last)
        score = score + (term if options["flowGradient"] == "both" else term.detach())
    if path:
        share = (1 - path) * column(ALPHAS[previous])
        score = share * score + (1 - share) * inputs["carriedNext"]
    target = (strength * derivative(prior, following)).detach() + score
    terms = {"forward": even(derivative(ours, following) - target).square().mean(),
             "trust": (network(tuned, x, t) - inputs["output"]).square().mean()}
    if with_flow:
        back = derivative(ours, x)
        back = back if options["reverseGradient"] == "full" else back.detach()
        back = -inputs["carriedNow"] if path else back - strength * derivative(prior, x).detach()
        balance = back + inputs["rewardNow"] + g(x)
        terms["reverse"] = (even(balance) * (1 - last)).square().mean()
        terms["terminal"] = (g(following) * last).square().mean()
    weights = STRENGTH | {"forward": 1, "terminal": 1}
    total = sum(weights[k] * v for k, v in terms.items())
    trained = tuned | ({"flow/w": flow} if with_flow else {})
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    found = {k: torch.zeros_like(v) if grad is None else grad for (k, v), grad in zip(trained.items(), gradients)}
    return {"total": total} | terms | prefixed("grad.", found)


def make():
    tuned = {k: v.double().requires_grad_() for k, v in TUNED.items()}
    reference = {k: v.double() for k, v in REFERENCE.items()}
    flow = tensor(400, 12, 12, scale=0.2).double().requires_grad_()
    steps = torch.tensor([901, 501, 101, 1])
    previous = (steps - 100).clamp(min=0)
    inputs = {k: tensor(410 + i, *SHAPE).double() for i, k in enumerate(["x", "rewardNow", "rewardNext", "output"])}
    inputs |= {k: tensor(430 + i, *SHAPE).double() for i, k in enumerate(["carriedNow", "carriedNext"])}
    mean, std = transition(inputs["x"], network(reference, inputs["x"], steps), steps, previous)
    # Rounded before the losses are taken: the last step divides by its small variance.
    inputs["next"] = (mean + std * tensor(420, *SHAPE).double()).float().double()
    tensors = inputs | {"flow": flow}
    for name, options in CASES.items():
        tensors |= prefixed(f"{name}/", losses(options, tuned, reference, flow, inputs, steps, previous))
    meta = {"prompts": PROMPTS, "steps": steps.tolist(), "previous": previous.tolist(), "cases": CASES, **STRENGTH}
    save("nabla_losses", {k: v.detach().float() for k, v in tensors.items()}, meta)


if __name__ == "__main__":
    make()

"""scheduler_*.safetensors: schedules, and trajectories of each diffusers sampler under a fixed stand-in for the U-Net.

The stand-in is model(x, t) = 0.7 * tanh(x) + 0.1 * t / 1000 on the *scaled* model input. In a case `noise[i]` is what
the sampler draws at step i (zero where it draws nothing), `x[0]` the start, `x[i + 1]` the sample after step i, and
`x0[i]` the clean sample predicted there (LCM: its `denoised`).
"""

import importlib

import torch
from diffusers import (DDIMScheduler, DDPMScheduler, DEISMultistepScheduler, DPMSolverMultistepScheduler,
                       DPMSolverSinglestepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
                       HeunDiscreteScheduler, LCMScheduler, LMSDiscreteScheduler, TCDScheduler, UniPCMultistepScheduler)

from common import prefixed, save, tensor

# The keys of Stable Diffusion 1.5's scheduler_config.json that these samplers read.
SD15 = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
DDIM = SD15 | dict(set_alpha_to_one=False, clip_sample=False)
# Without steps_offset trailing spacing is what SD-Turbo and the zero-SNR recipe use.
TRAILING = dict(timestep_spacing="trailing", steps_offset=0)
ZERO_SNR = TRAILING | dict(rescale_betas_zero_snr=True, prediction_type="v_prediction")
VARIATIONS = {  # config changes every sampler is run with, and the number of steps
    "leading": (dict(timestep_spacing="leading"), 10),
    "trailing": (TRAILING, 10),
    "linspace": (dict(timestep_spacing="linspace"), 10),
    "four_steps": (dict(timestep_spacing="leading"), 4),
    "one_step": (TRAILING, 1),
    "v_prediction": (dict(timestep_spacing="leading", prediction_type="v_prediction"), 10),
    "sample": (dict(timestep_spacing="leading", prediction_type="sample"), 10),
    "zero_snr": (ZERO_SNR, 10),
}
STOCHASTIC_DPM = dict(algorithm_type="sde-dpmsolver++")
UNDEFINED = {
    "eta1_zero_snr",  # diffusers: the square root of a rounding error below zero
    "euler_ancestral_sample",  # diffusers: not implemented
}
SAMPLERS = {  # file: class, base config, {sampler name: (config, step arguments)}
    "ddpm": (DDPMScheduler, SD15 | dict(clip_sample=False), {
        "ddpm": ({}, {}), "ddpm_large": (dict(variance_type="fixed_large"), {})}),
    "ddim": (DDIMScheduler, DDIM, {
        "eta0": ({}, dict(eta=0.0)), "eta05": ({}, dict(eta=0.5)), "eta1": ({}, dict(eta=1.0)),
        "alpha_one": (dict(set_alpha_to_one=True), dict(eta=0.0))}),
    "euler": (EulerDiscreteScheduler, SD15, {"euler": ({}, {})}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, SD15, {"euler_ancestral": ({}, {})}),
    "dpm": (DPMSolverMultistepScheduler, SD15, {
        "order1": (dict(solver_order=1), {}), "order2": ({}, {}),
        "order2_sigma_min": (dict(final_sigmas_type="sigma_min"), {}),
        "sde_order1": (STOCHASTIC_DPM | dict(solver_order=1, final_sigmas_type="sigma_min"), {}),
        "sde_order2": (STOCHASTIC_DPM, {}),
        "sde_order2_sigma_min": (STOCHASTIC_DPM | dict(final_sigmas_type="sigma_min"), {})}),
}
# The other solvers: a case each for what they do differently, rather than the whole product.
LEADING, LINSPACE = dict(timestep_spacing="leading"), dict(timestep_spacing="linspace")
V, SAMPLE = dict(prediction_type="v_prediction"), dict(prediction_type="sample")
KARRAS, EXPONENTIAL, BETA = (dict([(f"use_{kind}_sigmas", True)]) for kind in ("karras", "exponential", "beta"))
MIN = dict(final_sigmas_type="sigma_min")
COSINE = dict(beta_schedule="squaredcos_cap_v2")
BY_KIND = {  # of every solver: config changes and the number of steps
    "leading_10": (LEADING, 10), "trailing_7": (TRAILING, 7), "linspace_20": (LINSPACE, 20), "trailing_2": (TRAILING, 2),
    "v_leading_6": (LEADING | V, 6), "sample_linspace_5": (LINSPACE | SAMPLE, 5), "karras_8": (KARRAS, 8),
}
SOLVERS = {  # file: class, {case: (config changes, number of steps, step arguments)}
    "heun": (HeunDiscreteScheduler, {"trailing_1": (TRAILING, 1)}),
    "lms": (LMSDiscreteScheduler, {"order2": (LINSPACE, 8, dict(order=2))}),
    "unipc": (UniPCMultistepScheduler, {
        "order1": (dict(solver_order=1), 6), "order3": (dict(solver_order=3), 12), "bh1": (dict(solver_type="bh1") | MIN, 9),
        "order3_bh1": (dict(solver_order=3, solver_type="bh1") | MIN, 8), "sigma_min": (MIN, 9),
        "not_lower": (dict(lower_order_final=False, solver_order=3) | MIN, 9), "zero_snr": (ZERO_SNR, 10)}),
    "deis": (DEISMultistepScheduler, {
        "order1": (dict(solver_order=1), 6), "order3": (dict(solver_order=3), 9), "order3_16": (dict(solver_order=3), 16),
        "not_lower": (dict(solver_order=3, lower_order_final=False), 9)}),
    "dpm_single": (DPMSolverSinglestepScheduler, {
        "order1": (dict(solver_order=1), 6), "order3_9": (dict(solver_order=3), 9), "order3_10": (dict(solver_order=3), 10),
        "order3_11": (dict(solver_order=3), 11), "heun": (dict(solver_type="heun"), 8),
        "order3_heun": (dict(solver_type="heun", solver_order=3), 12), "sigma_min": (MIN, 8),
        "sigma_min_lower": (MIN | dict(lower_order_final=True), 8), "order3_sigma_min": (MIN | dict(solver_order=3), 9)}),
    "tcd": (TCDScheduler, {f"{name}_{steps}_{eta}": (change, steps, dict(eta=eta))
        for name, change in (("epsilon", {}), ("v", V), ("sample", SAMPLE))
        for steps, eta in ((1, 0.3), (4, 0.0), (4, 0.3), (7, 0.3), (8, 1.0))}),
    "dpm_more": (DPMSolverMultistepScheduler, {
        "order3": (dict(solver_order=3), 9), "order3_16": (dict(solver_order=3), 16), "heun": (dict(solver_type="heun"), 8),
        "euler_at_final": (MIN | dict(euler_at_final=True), 16), "not_lower": (MIN | dict(lower_order_final=False), 9),
        "sde_order3": (STOCHASTIC_DPM | dict(solver_order=3), 9), "sde_heun": (STOCHASTIC_DPM | dict(solver_type="heun"), 9),
        "lu": (dict(use_lu_lambdas=True), 8)}),
    "euler_more": (EulerDiscreteScheduler, {
        "sigma_min": (LEADING | MIN, 10), "karras_range": (KARRAS | dict(sigma_min=0.05, sigma_max=10.0), 10)}),
}
SIGMAS = {"karras": KARRAS, "exponential": EXPONENTIAL, "beta": BETA}
OF_SIGMAS = [EulerDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler, DPMSolverMultistepScheduler,
             DPMSolverSinglestepScheduler, UniPCMultistepScheduler, DEISMultistepScheduler]
OF_COSINE = [DPMSolverMultistepScheduler, UniPCMultistepScheduler]
# Their samples are in units of sigma, which begins above 20,000: float32 keeps no more than three digits there.
LEVELS_OF_COSINE = [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler]


def stand_in(x, t):
    return 0.7 * torch.tanh(x) + 0.1 * t / 1000


def schedule(sampler):
    sigmas = getattr(sampler, "sigmas", None)
    return {"timesteps": sampler.timesteps} | ({} if sigmas is None else {"sigmas": sigmas})


def trajectory(sampler, steps, step_arguments, seed):
    """Runs the sampler from stored noise and records every step."""
    sampler.set_timesteps(steps)
    calls = len(sampler.timesteps)
    available, noise, step = tensor(seed, calls, 2, 4, 2, 2), torch.zeros(calls, 2, 4, 2, 2), 0

    def draw(*_, **__):
        noise[step] = available[step]
        return available[step]

    importlib.import_module(type(sampler).__module__).randn_tensor = draw  # where every sampler gets its noise
    x = tensor(seed + 1, 2, 4, 2, 2) * sampler.init_noise_sigma
    xs, clean = [x], []
    for step, t in enumerate(sampler.timesteps):
        output = sampler.step(stand_in(sampler.scale_model_input(x, t), t), t, x, **step_arguments)
        x = output.prev_sample
        xs.append(x)
        clean.append(getattr(output, "pred_original_sample", getattr(output, "denoised", None)))
    result = schedule(sampler) | {"x": torch.stack(xs), "noise": noise}
    return result | ({} if clean[0] is None else {"x0": torch.stack(clean)})


def samplers():
    for file, (cls, base, variants) in SAMPLERS.items():
        tensors, cases = {}, {}
        for name, (extra, step_arguments) in variants.items():
            for label, (change, steps) in VARIATIONS.items():
                config = base | change | extra
                case = f"{name}_{label}"
                if case in UNDEFINED:
                    continue
                result = trajectory(cls(**config), steps, step_arguments, 100 + len(cases))
                tensors |= prefixed(f"{case}/", result)
                cases[case] = {"class": cls.__name__, "config": config, "steps": steps, **step_arguments}
        for spacing in ("leading", "trailing", "linspace"):
            for steps in (4, 10, 50):
                sampler = cls(**base | dict(timestep_spacing=spacing))
                sampler.set_timesteps(steps)
                tensors |= prefixed(f"schedule_{spacing}_{steps}/", schedule(sampler))
        save(f"scheduler_{file}", tensors, {"cases": cases})


def solvers():
    for file, (cls, own) in SOLVERS.items():
        every = {} if file in ("tcd", "dpm_more", "euler_more") else BY_KIND
        write(file, cls, every | own)
    write("sigmas", None, {f"{cls.__name__}_{name}_{steps}": (change, steps, {}, cls)
                           for cls in OF_SIGMAS for name, change in SIGMAS.items() for steps in (5, 11)})
    write("cosine", None, {f"{cls.__name__}_{name}": (change | COSINE | V, 10, {}, cls)
                           for cls in OF_COSINE for name, change in (("linspace", LINSPACE), ("trailing", TRAILING))})
    levels = {}
    for cls in LEVELS_OF_COSINE:
        for name, change in (("linspace", LINSPACE), ("trailing", TRAILING)):
            sampler = cls(**SD15 | change | COSINE)
            sampler.set_timesteps(10)
            levels |= prefixed(f"{cls.__name__}_{name}/", schedule(sampler))
    save("scheduler_cosine_levels", levels, {"config": SD15 | COSINE})


def write(file, of_all, cases):
    tensors, meta = {}, {}
    for case, (change, steps, *rest) in cases.items():
        step_arguments, cls = (rest + [{}])[0], rest[1] if len(rest) > 1 else of_all
        clip = dict(clip_sample=False) if "clip_sample" in cls().config else {}
        config = SD15 | clip | change
        tensors |= prefixed(f"{case}/", trajectory(cls(**{k: v for k, v in config.items() if k in cls().config}), steps,
                                                   step_arguments, 100 + len(meta)))
        meta[case] = {"class": cls.__name__, "config": config, "steps": steps, **step_arguments}
    save(f"scheduler_{file}", tensors, {"cases": meta})


def trailing():
    """Times of trailing spacing where some fall on halves or near them."""
    tensors = {}
    for steps in (3, 7, 48, 96, 112, 144, 176, 240, 336, 432, 624, 992):
        sampler = DDIMScheduler(**DDIM | TRAILING)
        sampler.set_timesteps(steps)
        tensors[str(steps)] = sampler.timesteps.to(torch.int32)
    save("scheduler_trailing", tensors, {"config": DDIM | TRAILING})


def lcm():
    tensors, cases = {}, {}
    for name, config in (("sd15", DDIM), ("default", {})):
        for steps in (1, 2, 4, 8):
            for prediction in ("epsilon", "v_prediction") if steps == 4 else ("epsilon",):
                case = f"{name}_{prediction}_{steps}"
                full = config | dict(prediction_type=prediction)
                tensors |= prefixed(f"{case}/", trajectory(LCMScheduler(**full), steps, {}, 100 + len(cases)))
                cases[case] = {"class": "LCMScheduler", "config": full, "steps": steps}
    save("scheduler_lcm", tensors, {"cases": cases})


def noise_schedules():
    """alphas_cumprod of each beta schedule, and what diffusers' add_noise and get_velocity make of them."""
    configs = {"sd15": SD15, "linear": dict(beta_schedule="linear"), "cosine": dict(beta_schedule="squaredcos_cap_v2"),
               "sd15_zero_snr": SD15 | dict(rescale_betas_zero_snr=True)}
    tensors = {}
    for name, config in configs.items():
        scheduler = DDPMScheduler(**config)
        tensors[f"{name}/alphas_cumprod"] = scheduler.alphas_cumprod
        x0, noise, t = tensor(1, 5, 4, 2, 2), tensor(2, 5, 4, 2, 2), torch.tensor([0, 1, 481, 981, 999])
        tensors |= prefixed(f"{name}/", {"x0": x0, "noise": noise, "t": t, "noisy": scheduler.add_noise(x0, noise, t),
                                         "velocity": scheduler.get_velocity(x0, noise, t)})
    save("scheduler_noise", tensors, {"cases": configs})


def make():
    noise_schedules()
    samplers()
    lcm()
    solvers()
    trailing()


if __name__ == "__main__":
    make()

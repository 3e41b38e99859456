"""scheduler_*.safetensors: schedules, and trajectories of each diffusers sampler under a fixed stand-in for the U-Net.

The stand-in is model(x, t) = 0.7 * tanh(x) + 0.1 * t / 1000 on the *scaled* model input. In a case `noise[i]` is what
the sampler draws at step i (zero where it draws nothing), `x[0]` the start, `x[i + 1]` the sample after step i, and
`x0[i]` the clean sample predicted there (LCM: its `denoised`).
"""

import importlib

import torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, LCMScheduler)

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


def stand_in(x, t):
    return 0.7 * torch.tanh(x) + 0.1 * t / 1000


def schedule(sampler):
    sigmas = getattr(sampler, "sigmas", None)
    return {"timesteps": sampler.timesteps} | ({} if sigmas is None else {"sigmas": sigmas})


def trajectory(sampler, steps, step_arguments, seed):
    """Runs the sampler from stored noise and records every step."""
    sampler.set_timesteps(steps)
    available, noise, step = tensor(seed, steps, 2, 4, 2, 2), torch.zeros(steps, 2, 4, 2, 2), 0

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


if __name__ == "__main__":
    make()

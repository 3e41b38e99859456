"""vae_*.safetensors: tiny AutoencoderKL and AutoencoderTiny, encoding and decoding with their gradients."""

from diffusers import AutoencoderKL, AutoencoderTiny

from common import differentiate, prefixed, randomise, save, tensor

KL = dict(in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2, norm_num_groups=2, sample_size=32,
          block_out_channels=[4, 8, 8, 8], down_block_types=["DownEncoderBlock2D"] * 4,
          up_block_types=["UpDecoderBlock2D"] * 4, scaling_factor=0.18215)
TINY = dict(encoder_block_out_channels=(6, 6, 6, 6), decoder_block_out_channels=(6, 6, 6, 6))  # all else as in TAESD


def plain_config(model):
    return {k: v for k, v in model.config.items() if not k.startswith("_")} | {"_class_name": type(model).__name__}


def write(name, model, encode, notes):
    """encode(image) gives the encoder's outputs; the latents that are decoded are already unscaled."""
    model.requires_grad_(False)
    image = tensor(302, 1, 3, 32, 32, scale=0.5).requires_grad_()
    latents = tensor(303, 1, 4, 4, 4).requires_grad_()
    outputs = encode(image) | {"sample": model.decode(latents).sample}
    leaves = {"in.image": image, "in.latents": latents}
    params = prefixed("param.", dict(model.named_parameters()))
    meta = {"config": plain_config(model), "notes": notes}
    save(f"vae_{name}", leaves | params | differentiate(outputs, leaves), meta)


def make():
    kl = randomise(AutoencoderKL(**KL), 301)

    def moments(image):
        posterior = kl.encode(image).latent_dist
        return {"mean": posterior.mean, "logvar": posterior.logvar}

    write("kl", kl, moments, "decode takes z / scaling_factor; logvar is clamped to [-30, 20]")
    tiny = randomise(AutoencoderTiny(**TINY), 311)
    write("tiny", tiny, lambda image: {"latents": tiny.encode(image).latents},
          "in.latents are fed to the decoder as they are; the decoder clamps them with 3 * tanh(z / 3)")


if __name__ == "__main__":
    make()

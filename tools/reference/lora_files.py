"""lora_*: LoRA files of every dialect as the reference tools write them, and the U-Net's output with each loaded.

The base models and inputs are those of unet_sd1 and unet_sdxl. lora_expected.safetensors holds `<file>/out.scale_1` and
`<file>/out.scale_05`: what diffusers (or PEFT) computes in float64 after loading that file at scale 1 and 0.5. The file
with the text encoder's LoRA, in three dialects, belongs to pipeline_sd1/ and has `out.prompt_embeds` of PROMPTS at
scale 1.
"""

import shutil

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_kohya
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from common import FIXTURES, prefixed, save, tensor
from pipeline import PROMPTS
from pipeline import load as load_pipeline
from unets import TARGETS, VARIANTS, build, call, inputs_of

RANK, ALPHA = 2, 3
# Standard deviation of a LoRA's weights: outputs change by about 1, and PyTorch's float32 is within 1e-5 of its float64.
# (At 0.5 its float32 is 1.1e-3 off, a tiny norm in SDXL's U-Net amplifying the rounding.)
SPREAD = 0.2
WIDE = (r".*(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2|conv_shortcut"
        r"|time_emb_proj)")
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
PIPELINES = {"sd1": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}


def pipeline(variant, unet):
    """A pipeline with nothing but its U-Net: all that loading and saving LoRA files needs."""
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "scheduler"))
    if variant == "sdxl":
        return PIPELINES[variant](**parts, text_encoder_2=None, tokenizer_2=None, unet=unet)
    return PIPELINES[variant](**parts, unet=unet, safety_checker=None, feature_extractor=None,
                              requires_safety_checker=False)


def adapt(model, targets):
    """Gives the model a random adapter; returns both the model and that adapter's state in PEFT's names."""
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights="gaussian", target_modules=targets))
    for i, (name, p) in enumerate(sorted((k, p) for k, p in model.named_parameters() if "lora_" in k)):
        p.data = tensor(500 + i, *p.shape, scale=SPREAD)
    return model, get_peft_model_state_dict(model)


def adapted(variant, targets=TARGETS):
    return adapt(build(variant), targets)


def to_kohya(state):
    """diffusers' converter, which sets every alpha to the rank, with the true alpha put in."""
    kohya = convert_state_dict_to_kohya(state)
    return kohya | {k: torch.tensor(float(ALPHA)) for k in kohya if k.endswith(".alpha")}


def precise(unet, variant):
    inputs = inputs_of(VARIANTS[variant])
    doubled = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    return call(unet.double(), doubled).float()


def expected(variant, file):
    """Loads the file through the pipeline's own loader into a fresh U-Net and runs it at both scales."""
    pipe = pipeline(variant, build(variant))
    pipe.load_lora_weights(str(FIXTURES), weight_name=file, adapter_name="a", local_files_only=True)
    result = {}
    for label, scale in (("1", 1.0), ("05", 0.5)):
        pipe.set_adapters(["a"], [scale])
        result[f"{file}/out.scale_{label}"] = precise(pipe.unet, variant)
    return result


def write(name, state):
    save_file({k: v.detach().contiguous() for k, v in state.items()}, FIXTURES / name, metadata={"format": "pt"})
    return name


def original_block_names(kohya):
    """SDXL's kohya files name the original (SGM) blocks: input_blocks 3i+j+1, output_blocks 3i+j, middle_block 1."""
    def rename(key):
        for i in range(3):
            for j in range(3):
                key = key.replace(f"_down_blocks_{i}_attentions_{j}_", f"_input_blocks_{3 * i + j + 1}_1_")
                key = key.replace(f"_up_blocks_{i}_attentions_{j}_", f"_output_blocks_{3 * i + j}_1_")
        return key.replace("_mid_block_attentions_0_", "_middle_block_1_")
    return {rename(k): v for k, v in kohya.items()}


def peft_folder(variant):
    """PeftModel.save_pretrained: adapter_config.json and adapter_model.safetensors."""
    name = f"lora_{variant}_peft"
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS)
    model = get_peft_model(build(variant), config)
    state = adapted(variant)[1]
    for key, p in model.named_parameters():
        if "lora_" in key:
            p.data = state[key.removeprefix("base_model.model.").replace(".default", "")].data
    model.save_pretrained(FIXTURES / name)
    (FIXTURES / name / "README.md").unlink()
    loaded = PeftModel.from_pretrained(build(variant), FIXTURES / name)
    result = {}
    for label, scale in (("1", 1.0), ("05", 0.5)):
        for module in loaded.modules():
            if hasattr(module, "set_scale"):
                module.set_scale("default", scale)
        result[f"{name}/out.scale_{label}"] = precise(loaded, variant)
    return result


def embeds(pipe):
    pipe.text_encoder.double()
    return pipe.encode_prompt(PROMPTS, "cpu", 1, False)[0].float()


def text_encoder_files():
    """One LoRA of a text encoder in three dialects. kohya's has sd-scripts' `lora_te_` names for SD 1.x (diffusers'
    converter writes `lora_te1_`); what transformers 5 names the layers, without `text_model.`, is in the other two."""
    encoder, state = adapt(load_pipeline().text_encoder, TEXT_TARGETS)
    old = prefixed("text_encoder.text_model.", state)
    kohya = {k.replace("lora_te1_", "lora_te_"): v for k, v in to_kohya(old).items()}
    files = [write("lora_sd1_kohya_text_encoder.safetensors", kohya), "lora_sd1_diffusers_text_encoder.safetensors"]
    metadata = encoder.peft_config["default"].to_dict()
    StableDiffusionPipeline.save_lora_weights(FIXTURES, text_encoder_lora_layers=state, weight_name=files[1],
                                              text_encoder_lora_adapter_metadata=metadata)
    result = {}
    for file in files:
        pipe = load_pipeline()
        pipe.load_lora_weights(str(FIXTURES), weight_name=file, local_files_only=True)
        result[f"{file}/out.prompt_embeds"] = embeds(pipe)

    name = "lora_sd1_peft_text_encoder"  # a PyTorch file, in a folder that tells the model
    folder = FIXTURES / name / "text_encoder"
    shutil.rmtree(FIXTURES / name, ignore_errors=True)
    model = get_peft_model(load_pipeline().text_encoder, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TEXT_TARGETS))
    for key, p in model.named_parameters():
        if "lora_" in key:
            p.data = state[key.removeprefix("base_model.model.").replace(".default", "")].data
    model.save_pretrained(folder, safe_serialization=False)
    (folder / "README.md").unlink()
    pipe = load_pipeline()
    pipe.text_encoder = PeftModel.from_pretrained(pipe.text_encoder, folder).merge_and_unload()
    return result | {f"{name}/out.prompt_embeds": embeds(pipe)}


def make():
    shutil.rmtree(FIXTURES / "lora_sd1_peft", ignore_errors=True)
    outputs = {}
    for variant in PIPELINES:
        unet, state = adapted(variant)
        config = unet.peft_config["default"].to_dict()
        file = f"lora_{variant}_diffusers.safetensors"  # PEFT-style keys and lora_adapter_metadata
        PIPELINES[variant].save_lora_weights(FIXTURES, state, weight_name=file, unet_lora_adapter_metadata=config)
        outputs |= expected(variant, file)
        kohya = to_kohya(prefixed("unet.", state))
        if variant == "sdxl":
            kohya = original_block_names(kohya)
        outputs |= expected(variant, write(f"lora_{variant}_kohya.safetensors", kohya))

    unet, state = adapted("sd1")
    unet.save_lora_adapter(FIXTURES, weight_name="lora_sd1_adapter.safetensors")  # no "unet." prefix
    old = {k.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): v for k, v in state.items()}
    outputs |= expected("sd1", write("lora_sd1_diffusers_old.safetensors", prefixed("unet.", old)))
    no_alpha = {k: v for k, v in convert_state_dict_to_kohya(prefixed("unet.", state)).items() if "alpha" not in k}
    outputs |= expected("sd1", write("lora_sd1_kohya_no_alpha.safetensors", no_alpha))
    outputs |= peft_folder("sd1")

    wide = to_kohya(prefixed("unet.", adapted("sd1", WIDE)[1]))
    outputs |= expected("sd1", write("lora_sd1_kohya_wide.safetensors", wide))
    outputs |= text_encoder_files()
    save("lora_expected", outputs, {"rank": RANK, "alpha": ALPHA, "note": "inputs: unet_sd1 and unet_sdxl, in.*"})


if __name__ == "__main__":
    make()

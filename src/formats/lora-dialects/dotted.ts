/** @file Keys that keep the module's dots: diffusers (old and new), PEFT and ComfyUI, alike but for prefix and end. */
import { unetFromLdm } from '../names/ldm-unet.js';
import { isUnetPath, textPath, type LoraKey } from './collect.js';

const DOWN = String.raw`(?:lora_A|lora_down|lora\.down|lora_linear_layer\.down)`;
const UP = String.raw`(?:lora_B|lora_up|lora\.up|lora_linear_layer\.up)`;
/** A name between matrix and `.weight` is that of the adapter in a raw PEFT state dict. */
const MATRIX = new RegExp(String.raw`^(.+?)\.(?:(${DOWN})|${UP})(?:\.[^.]+)?\.weight$`);
/** Attention processors of diffusers before 0.22, in the U-Net and in the text encoder. */
const PROCESSOR = /^(.+)\.to_(q|k|v|out)_lora\.(down|up)\.weight$/;
const ALPHA = /^(.+?)(?:\.lora_linear_layer|\.lora)?\.alpha$/;
const OTHER = /^(.+?)\.(?:lora_|dora_|diff|hada_|lokr_|oft_|lora\.)/;

/**
 * What a key holds, in our names; undefined if it is none of these dialects'.
 * @param owner the component that a module belongs to whose key does not say; a U-Net's modules are known by their names
 */
export function parseDotted(key: string, owner = 'text_encoder'): LoraKey | undefined {
  const plain = key.replace('.processor.', '.');
  const processor = PROCESSOR.exec(plain);
  if (processor) {
    const [, path, letter, part] = processor as unknown as [string, string, string, 'down' | 'up'];
    const text = path.endsWith('.self_attn');
    const name = text ? `${letter}_proj` : letter === 'out' ? 'to_out.0' : `to_${letter}`;
    const module = moduleOf(`${path}.${name}`, owner);
    return module ? { module, part } : undefined;
  }
  const matrix = MATRIX.exec(plain);
  const match = matrix ?? ALPHA.exec(plain) ?? OTHER.exec(plain);
  const module = match && moduleOf(match[1]!, owner);
  if (!module) return undefined;
  if (matrix) return { module, part: matrix[2] ? 'down' : 'up' };
  return { module, part: ALPHA.test(plain) ? 'alpha' : 'other' };
}

/** ComfyUI's names of the text encoders (LoraSave): SD 1.x and SDXL's first, SD 2.x's, SDXL's second. */
const COMFY_TEXT = /^text_encoders\.clip_(l|h|g)\.transformer\.(.+)$/;

/** A module's path with its component in our names, from one with any prefix or none. */
function moduleOf(path: string, owner: string): string | undefined {
  const bare = path.replace(/^base_model\.model\./, '');
  const comfy = /^diffusion_model\.(.+)$/.exec(bare);
  if (comfy) {
    const ours = isUnetPath(comfy[1]!) ? comfy[1] : unetFromLdm(comfy[1]!);
    return ours && `unet.${ours}`;
  }
  const clip = COMFY_TEXT.exec(bare);
  if (clip) return text(clip[1] === 'g' ? 'text_encoder_2' : 'text_encoder', clip[2]!);
  const [, component, rest] = /^(unet|transformer|text_encoder|text_encoder_2)\.(.+)$/.exec(bare) ?? [];
  if (component === 'unet') return isUnetPath(rest!) ? bare : undefined;
  if (component === 'transformer') return bare; // its modules' names are the family's own
  if (component) return text(component, rest!);
  if (owner === 'transformer') return `transformer.${bare}`;
  return isUnetPath(bare) ? `unet.${bare}` : text(owner === 'text_encoder_2' ? owner : 'text_encoder', bare);
}

function text(component: string, path: string): string | undefined {
  const ours = textPath(path);
  return ours && `${component}.${ours}`;
}

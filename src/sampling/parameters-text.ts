/**
 * @file The generation parameters of an image as A1111 writes them into its PNG (modules/infotext_utils.py): dropped on
 * A1111, ComfyUI, InvokeAI or an image site, the picture tells how it was made.
 */
import type { SamplerName } from '../schedulers/index.js';

export interface GenerationParameters {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly steps: number;
  readonly sampler: SamplerName;
  readonly guidance: number;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
  /** Name of the model. */
  readonly model: string;
  readonly loras: readonly { readonly name: string; readonly strength: number }[];
  /** Program and version. */
  readonly version: string;
}

/** A1111's names of the samplers; it has no DDPM, DEIS, TCD and flow SDE, and the singlestep solver only with ancestral noise. */
const SAMPLERS: Readonly<Record<SamplerName, string>> = {
  ddim: 'DDIM', ddpm: 'DDPM', euler: 'Euler', 'euler-a': 'Euler a', lcm: 'LCM',
  'dpm++2m': 'DPM++ 2M', 'dpm++2m-sde': 'DPM++ 2M SDE', 'dpm++2s': 'DPM++ 2S', heun: 'Heun', lms: 'LMS', unipc: 'UniPC',
  deis: 'DEIS', tcd: 'TCD', 'flow-euler': 'Euler', 'flow-sde': 'Flow SDE',
};

/** Prompt, negative prompt and a line of `key: value` pairs, for the text chunk `parameters`. */
export function parametersText(p: GenerationParameters): string {
  const loras = p.loras.map(({ name, strength }) => ` <lora:${name}:${strength}>`).join('');
  const pairs: [string, string | number][] = [
    ['Steps', p.steps], ['Sampler', SAMPLERS[p.sampler]], ['CFG scale', p.guidance], ['Seed', p.seed],
    ['Size', `${p.width}x${p.height}`], ['Model', p.model], ['Version', p.version],
  ];
  return [
    `${p.prompt}${loras}`.trim(),
    ...(p.negativePrompt === '' ? [] : [`Negative prompt: ${p.negativePrompt}`]),
    pairs.map(([key, value]) => `${key}: ${quoted(String(value))}`).join(', '),
  ].join('\n').trim();
}

/** Values that would end early are quoted as JSON. */
const quoted = (value: string): string => (/[,:\n"]/.test(value) ? JSON.stringify(value) : value);

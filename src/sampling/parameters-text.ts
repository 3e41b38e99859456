/**
 * @file The generation parameters of an image as A1111 writes them into its PNG (modules/infotext_utils.py): dropped on
 * A1111, ComfyUI, InvokeAI or an image site, the picture tells how it was made.
 */
import type { SamplerName } from '../schedulers/index.js';
import type { SamplerOptions } from '../schedulers/plan.js';

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
  /** What is given in the place of the model's own. */
  readonly vae?: string;
  /** Layers left out, as diffusers counts. */
  readonly clipSkip?: number;
  readonly sigmas?: SamplerOptions['sigmas'];
  readonly eta?: number;
  /** Program and version. */
  readonly version: string;
}

/** A1111's names of the samplers; it has no DDPM, DEIS, TCD and flow SDE, and the singlestep solver only with ancestral noise. */
const SAMPLERS: Readonly<Record<SamplerName, string>> = {
  ddim: 'DDIM', ddpm: 'DDPM', euler: 'Euler', 'euler-a': 'Euler a', lcm: 'LCM',
  'dpm++2m': 'DPM++ 2M', 'dpm++2m-sde': 'DPM++ 2M SDE', 'dpm++2s': 'DPM++ 2S', heun: 'Heun', lms: 'LMS', unipc: 'UniPC',
  deis: 'DEIS', tcd: 'TCD', 'flow-euler': 'Euler', 'flow-sde': 'Flow SDE',
};

/** A1111's names of noise levels that are not the sampler's own; it has none for Lu's. */
const SCHEDULES: Readonly<Record<NonNullable<SamplerOptions['sigmas']>, string | undefined>> =
  { plain: undefined, karras: 'Karras', exponential: 'Exponential', beta: 'Beta', lu: undefined };

const optional = (key: string, value: string | number | undefined): [string, string | number][] => (value === undefined ? [] : [[key, value]]);

/** Prompt, negative prompt and a line of `key: value` pairs, for the text chunk `parameters`. */
export function parametersText(p: GenerationParameters): string {
  const loras = p.loras.map(({ name, strength }) => ` <lora:${name}:${strength}>`).join('');
  const pairs: [string, string | number][] = [
    ['Steps', p.steps], ['Sampler', SAMPLERS[p.sampler]], ['CFG scale', p.guidance], ['Seed', p.seed],
    ['Size', `${p.width}x${p.height}`], ['Model', p.model],
    // What A1111 calls 1 is the whole encoder.
    ...optional('VAE', p.vae), ...optional('Clip skip', p.clipSkip ? p.clipSkip + 1 : undefined),
    ...optional('Schedule type', SCHEDULES[p.sigmas ?? 'plain']), ...optional('Eta', p.eta), ['Version', p.version],
  ];
  return [
    `${p.prompt}${loras}`.trim(),
    ...(p.negativePrompt === '' ? [] : [`Negative prompt: ${p.negativePrompt}`]),
    pairs.map(([key, value]) => `${key}: ${quoted(String(value))}`).join(', '),
  ].join('\n').trim();
}

/** Values that would end early are quoted as JSON. */
const quoted = (value: string): string => (/[,:\n"]/.test(value) ? JSON.stringify(value) : value);

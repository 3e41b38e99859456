/**
 * @file The metadata by which other tools recognise a LoRA: kohya's `ss_…` and `sshs_…` (sd-scripts train_util.py)
 * and ModelSpec 1.0.1 (sd-scripts sai_model_spec.py). A1111 takes a file without it for one of unknown kind.
 */
import { createHash } from 'node:crypto';
import type { HostTensor } from '../graph/dtype.js';
import { UNKNOWN_BASE, rankOf, type LoraFile } from './lora.js';
import { layOut } from './safetensors-header.js';
import { tensorBytes } from './safetensors.js';

/** What is known of how a LoRA was made. All of it is optional: a converted file may not say. */
export interface LoraFacts {
  readonly outputName?: string;
  readonly title?: string;
  readonly description?: string;
  readonly author?: string;
  readonly baseModelName?: string;
  readonly baseModelHash?: string;
  readonly resolution?: { readonly width: number; readonly height: number };
  readonly predictionType?: 'epsilon' | 'v';
  readonly learningRate?: number;
  readonly seed?: number;
  readonly steps?: number;
  readonly epoch?: number;
  readonly optimizer?: string;
  readonly maxGradNorm?: number;
  readonly mixedPrecision?: string;
  /** Seconds since 1970. */
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly sessionId?: string;
}

/** kohya's and ModelSpec's names of the families; ModelSpec's of SD 2.x depends on the prediction. */
const VERSIONS = new Map<string, readonly [kohya: string, modelSpec: string, side: number]>([
  ['sd1', ['sd_v1', 'stable-diffusion-v1', 512]],
  ['sd2', ['sd_v2', 'stable-diffusion-v2-512', 512]],
  ['sd2-v', ['sd_v2_v', 'stable-diffusion-v2-768-v', 768]],
  ['sdxl', ['sdxl_base_v1-0', 'stable-diffusion-xl-v1-base', 1024]],
]);

/** ModelSpec's `implementation` of SDXL: the code that names its modules as the file does. */
const STABILITY = 'https://github.com/Stability-AI/generative-models';

/**
 * The metadata of a file that holds `lora`: what it carried before, completed and brought up to date. Training facts
 * that nobody knows read "None", as sd-scripts writes them.
 */
export function loraMetadata(lora: LoraFile, facts: LoraFacts = {}): Record<string, string> {
  const kept = Object.entries(lora.metadata)
    .filter(([key]) => !/^(format|lora_adapter_metadata|sshs_.*|modelspec\.hash_sha256)$/.test(key));
  const layers = [...lora.layers.values()];
  const said = facts.predictionType ?? lora.metadata['modelspec.prediction_type'];
  const v = lora.baseModel === 'sd2' && (said ?? (lora.metadata.ss_base_model_version === 'sd_v2_v' && 'v')) === 'v';
  const base = lora.baseModel ?? UNKNOWN_BASE;
  const [version, architecture, side] = VERSIONS.get(v ? 'sd2-v' : base) ?? [base, base, undefined];
  const known: Record<string, string | number | undefined> = {
    ss_output_name: facts.outputName, ss_sd_model_name: facts.baseModelName, ss_sd_model_hash: facts.baseModelHash,
    ss_learning_rate: facts.learningRate, ss_seed: facts.seed, ss_steps: facts.steps, ss_epoch: facts.epoch,
    ss_optimizer: facts.optimizer, ss_max_grad_norm: facts.maxGradNorm, ss_mixed_precision: facts.mixedPrecision,
    ss_training_started_at: facts.startedAt, ss_training_finished_at: facts.finishedAt, ss_session_id: facts.sessionId,
    'modelspec.title': facts.title ?? facts.outputName, 'modelspec.description': facts.description,
    'modelspec.author': facts.author, 'modelspec.prediction_type': facts.predictionType,
    'modelspec.resolution': facts.resolution && `${facts.resolution.width}x${facts.resolution.height}`,
    'modelspec.date': facts.finishedAt === undefined ? undefined
      : new Date(facts.finishedAt * 1000).toISOString().slice(0, 19),
  };
  return {
    ...Object.fromEntries(Object.keys(known).filter((key) => key.startsWith('ss_')).map((key) => [key, 'None'])),
    'modelspec.title': 'LoRA',
    ...(side && { 'modelspec.resolution': `${side}x${side}` }),
    'modelspec.implementation': lora.baseModel === 'sdxl' ? STABILITY : 'diffusers',
    ss_network_module: 'networks.lora',
    ss_network_args: '{}',
    ...Object.fromEntries(kept),
    ...Object.fromEntries(Object.entries(known).filter(([, v]) => v !== undefined).map(([key, v]) => [key, `${v}`])),
    ss_v2: lora.baseModel === 'sd2' ? 'True' : 'False',
    ss_base_model_version: version,
    ss_network_dim: common(layers.map(rankOf)),
    ss_network_alpha: common(layers.map((layer) => layer.alpha)),
    'modelspec.sai_model_spec': '1.0.1',
    'modelspec.architecture': `${architecture}/lora`,
  };
}

/** The value that all share, or sd-scripts' word for several. */
function common(values: readonly number[]): string {
  return new Set(values).size === 1 ? String(values[0]) : 'Dynamic';
}

/**
 * `metadata` with the hashes by which A1111 finds a file: SHA-256 of the tensors' bytes; the older one of 64 KiB at
 * 1 MiB of the file, with only the `ss_` entries in its header; and the first once more for ModelSpec.
 */
export function withHashes(
  tensors: ReadonlyMap<string, HostTensor>, metadata: Readonly<Record<string, string>>,
): Record<string, string> {
  const training = Object.fromEntries(Object.entries(metadata).filter(([key]) => key.startsWith('ss_')));
  const { header, ordered } = layOut(tensors, training, 'LoRA');
  const all = createHash('sha256');
  const window = createHash('sha256');
  let at = 0;
  const addToWindow = (bytes: Uint8Array) => {
    window.update(bytes.subarray(Math.max(0, 0x100000 - at), Math.max(0, 0x110000 - at)));
    at += bytes.length;
  };
  addToWindow(header);
  for (const [, tensor] of ordered) {
    const bytes = tensorBytes(tensor);
    all.update(bytes);
    addToWindow(bytes);
  }
  const hash = all.digest('hex');
  return {
    ...metadata,
    sshs_model_hash: hash,
    sshs_legacy_hash: window.digest('hex').slice(0, 8),
    'modelspec.hash_sha256': `0x${hash}`,
  };
}

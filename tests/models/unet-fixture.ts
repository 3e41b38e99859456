/** @file The fixtures of U-Nets: how they are traced, and the LoRA that comes with them. */
import { host } from '../../src/graph/dtype.js';
import type { HostTensor } from '../../src/graph/dtype.js';
import { cast } from '../../src/graph/ops/arithmetic.js';
import type { Tensor } from '../../src/graph/tensor.js';
import { unetConfigSchema } from '../../src/models/config.js';
import { unet } from '../../src/models/unet.js';
import type { LoraAdapter } from '../../src/nn/lora.js';
import type { Scope } from '../../src/nn/scope.js';
import type { Fixture } from './fixture.js';

/** The prediction for a fixture's inputs. */
export function traceUnet(fixture: Fixture, scope: Scope, inputs: Record<string, Tensor>, checkpointing = false): Tensor {
  const config = unetConfigSchema.parse(fixture.meta['config']);
  return unet(scope, config, {
    latents: inputs['sample']!,
    timestep: cast(inputs['timestep']!, 'float32'),
    context: inputs['encoder_hidden_states']!,
    pooled: inputs['text_embeds']!,
    sizes: inputs['time_ids']!,
    guidance: inputs['guidance_scale']!,
  }, { checkpointing });
}

/** PEFT's tensor names of the fixture → the adapter's inputs. */
export function loraTensor(adapter: LoraAdapter, name: string): Tensor {
  const [, path, part] = /^(?:lora\.)?(.+)\.lora_([AB])\.weight$/.exec(name)!;
  const layer = adapter.layers.get(`unet.${path}`)!;
  return part === 'A' ? layer.down : layer.up;
}

/** Feeds of the fixture's LoRA at a strength. */
export function loraFeeds(fixture: Fixture, strength: number): Record<string, HostTensor> {
  const feeds: Record<string, HostTensor> = { 'a.scale': host(new Float32Array([strength]), []) };
  for (const [name, value] of fixture.part('lora.')) {
    const [, path, part] = /^(.+)\.lora_([AB])\.weight$/.exec(name)!;
    feeds[`a.unet.${path}.${part === 'A' ? 'down' : 'up'}`] = value;
  }
  return feeds;
}

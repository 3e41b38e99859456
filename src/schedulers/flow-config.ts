/** @file Reads the configuration of diffusers' `FlowMatchEulerDiscreteScheduler`: a rectified flow and its shift. */
import { z } from 'zod';
import { parseConfig } from '../models/config.js';
import type { SamplerOptions } from './plan.js';
import { trainingTimes } from './process.js';
import type { RectifiedFlow } from './process.js';

export const FLOW_SCHEDULER = 'FlowMatchEulerDiscreteScheduler';

const FLOW: RectifiedFlow = { kind: 'rectified-flow', predictionType: 'flow' };

const off = (what: string): z.ZodType => z.union([z.literal(false), z.null()], `${what} is not supported`).optional();

/** Unknown keys change nothing in files that do without what they are for, and are passed over. */
const schema = z.object({
  num_train_timesteps: z.literal(trainingTimes(FLOW), 'flows of other numbers of times are not supported').default(trainingTimes(FLOW)),
  shift: z.number().positive().default(1),
  use_dynamic_shifting: off('a shift by the size of the picture (FLUX)'),
  invert_sigmas: off('a flow that runs the other way'),
  shift_terminal: z.null('an end before pure data is not supported').optional(),
  use_karras_sigmas: off('Karras levels of a flow'),
  use_exponential_sigmas: off('exponential levels of a flow'),
  use_beta_sigmas: off('beta levels of a flow'),
  stochastic_sampling: off('noise after every step'),
});

/** @throws FormatError naming the key that is not supported */
export function readFlowConfig(json: Readonly<Record<string, unknown>>, where: string): { process: RectifiedFlow; options: SamplerOptions } {
  const { shift } = parseConfig(schema, json, where);
  return { process: FLOW, options: { shift } };
}

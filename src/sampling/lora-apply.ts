/** @file LoRAs on a pipeline, merged into its weights: sampling then costs what the base model costs. */
import { FormatError, shown } from '../formats/errors.js';
import type { LoraFile } from '../formats/lora.js';
import type { HostTensor, Shape } from '../graph/dtype.js';
import { describeShape } from '../graph/errors.js';
import { baseModelOf } from '../models/pipeline.js';
import type { Pipeline } from '../models/pipeline.js';
import { withEmbeddings } from '../models/text-embeddings.js';
import { mergeLora } from '../nn/lora-values.js';

/** A LoRA and how strongly it is applied: 1 as trained; negative, and above one, are possible. */
export interface LoraUse {
  /** The file, for messages. */
  readonly where: string;
  readonly lora: LoraFile;
  readonly strength: number;
}

/** Layers that the weights lack or have in another shape, as `path: problem`. */
export function misfits(lora: LoraFile, weights: ReadonlyMap<string, HostTensor>): string[] {
  // A linear layer may be stored as a 1 × 1 convolution and the other way round.
  const inner = (shape: Shape): string => [shape[1], ...shape.slice(2).filter((n) => n !== 1)].join();
  return [...lora.layers].flatMap(([path, { down, up }]) => {
    const weight = weights.get(`${path}.weight`);
    if (!weight) return [`${shown(path)}: the model has no such layer`];
    if (weight.shape[0] === up.shape[0] && inner(weight.shape) === inner(down.shape)) return [];
    const made = describeShape([up.shape[0]!, ...down.shape.slice(1)]);
    return [`${shown(path)}: made for a weight ${made}, the model has ${describeShape(weight.shape)}`];
  });
}

/** Named in a message before it says how many more there are. */
const NAMED = 3;

/** @throws FormatError with the layers that do not fit, and for which models LoRA and pipeline are */
function checkLora({ where, lora }: Omit<LoraUse, 'strength'>, pipeline: Pipeline): void {
  const problems = misfits(lora, pipeline.weights);
  if (problems.length === 0) return;
  const [made, given] = [lora.baseModel, baseModelOf(pipeline)];
  const other = given === undefined ? '' : `, the model is ${given}`;
  const families = made === undefined || made === given ? '' : `It was made for ${shown(made)}${other}. `;
  const more = problems.length > NAMED ? `; and ${problems.length - NAMED} more` : '';
  throw new FormatError(where,
    `does not fit ${pipeline.source}: ${problems.length} of its ${lora.layers.size} layers do not ` +
    `(${problems.slice(0, NAMED).join('; ')}${more})`,
    `${families}Take the model that it was made for, or another LoRA.`);
}

/**
 * The pipeline with LoRAs merged in, text encoders included, and the words of the embeddings that they bring along. The order does not matter. Only changed weights are new.
 *
 * @throws FormatError if one of them does not fit, before anything is merged
 */
export async function applyLoras(pipeline: Pipeline, uses: readonly LoraUse[]): Promise<Pipeline> {
  for (const use of uses) checkLora(use, pipeline);
  let { weights } = pipeline;
  for (const { lora, strength, where } of uses) {
    if (strength !== 0) weights = await mergeLora(weights, lora, strength, where);
  }
  const embeddings = uses.flatMap(({ lora, where }) => [...lora.embeddings ?? []].map(([token, parts]) => ({ where, token, parts })));
  return withEmbeddings({ ...pipeline, weights }, embeddings);
}

/** @file Digests of all that a run computes with: if none of them changes, it goes on bit for bit. */
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { mapPairPaths } from '../evaluation/pair-distance.js';
import { mapSpacePaths } from '../evaluation/spaces.js';
import { packageVersion } from '../formats/package-root.js';
import type { HostTensor } from '../graph/dtype.js';
import { input } from '../graph/tensor.js';
import type { Pipeline } from '../models/pipeline.js';
import { mapRewardPaths, parseReward, RewardSpecError } from '../rewards/registry.js';
import type { Reward } from '../rewards/reward.js';
import { throwIfAborted } from '../runtime/compile.js';
import { ortVersion } from '../runtime/device.js';
import { processorKind } from '../machine/processor.js';
import type { RunConfig } from './config.js';
import { hashPath, hashTensors, hashText } from './digest.js';
import { readPairs } from './image-pairs.js';
import type { Inputs } from '../runs/manifest.js';
import { methodPaths } from './paths.js';
import { featureFolder } from './materials.js';
import type { Session } from './session.js';

type Entries = [name: string, value: string][];

/** A file or folder; one that cannot be read any more is told as that. */
const digestOf = (path: string): Promise<string> =>
  hashPath(path).catch((error: unknown) => `not readable (${(error as NodeJS.ErrnoException).code ?? String(error)})`);

/** The weights of each part, the configuration of all, and the tokenizers' folders. */
async function modelInputs(pipeline: Pipeline, signal: AbortSignal | undefined): Promise<Entries> {
  const parts = new Map<string, Map<string, HostTensor>>();
  for (const [name, t] of pipeline.weights) {
    const part = name.slice(0, name.indexOf('.'));
    if (!parts.has(part)) parts.set(part, new Map());
    parts.get(part)!.set(name, t);
  }
  const { family, denoiser, vae, scheduler, zeroEmptyNegative, textEncoders } = pipeline;
  const configuration = { [family.denoiser.part]: denoiser.config, vae, scheduler, zeroEmptyNegative, textEncoders: textEncoders.map(({ kind, config }) => ({ kind, config })) };
  const words = await Promise.all(textEncoders.map(({ tokenizerFiles }) => digestOf(tokenizerFiles.folder)));
  const digests: Entries = [];
  for (const [part, weights] of parts) {
    await throwIfAborted(signal);
    digests.push([`model ${part}`, hashTensors(weights)]);
  }
  return [
    ...digests,
    ['model configuration', hashText(JSON.stringify(configuration))],
    ['model tokenizer', hashText(words.join())],
  ];
}

/** Of the files that a setting names; of one that names none, what it is called. */
async function namedDigest(space: string, mapped: typeof mapSpacePaths): Promise<string> {
  const paths: string[] = [];
  mapped(space, (path) => {
    paths.push(path);
    return path;
  });
  const digests: string[] = [];
  for (const path of paths) digests.push(await digestOf(path));
  return digests.length === 1 ? digests[0]! : hashText([space, ...digests].join());
}

/** What rewards are hashed with: the shape of an image, the model that may be part of one, and what ends it. */
interface Around {
  readonly images: readonly number[];
  readonly model: Pipeline;
  readonly signal: AbortSignal | undefined;
}

/** A reward's weights, and every file that its options name. */
async function rewardInputs(label: string, reward: Reward, specs: readonly string[], { images, model, signal }: Around): Promise<Entries> {
  await throwIfAborted(signal);
  const found: Entries = [];
  const known = new Set(model.weights.values());
  for (const part of (reward.parts ?? [{ reward }]).map((p) => p.reward)) {
    if (!part.differentiable || [...part.weights.values()].some((t) => known.has(t))) continue; // the model itself
    try {
      part.trace(input('images', images)); // it knows its weights once it has been traced
    } catch {
      // one that takes no single image: those that it has read already
    }
    if (part.weights.size > 0) found.push([`${label} ${part.name}`, hashTensors(part.weights)]);
  }
  for (const spec of specs) {
    const paths: string[] = [];
    try {
      mapRewardPaths(spec, (path) => {
        paths.push(path);
        return path;
      });
    } catch (error) {
      if (!(error instanceof RewardSpecError)) throw error; // a caller's own
    }
    for (const path of paths) found.push([`${label} ${parseReward(spec).name}: ${basename(path)}`, await digestOf(path)]);
  }
  return found;
}

/** The rewards of constraints, as they are written. */
const constrainedSpecs = ({ subjectTo }: RunConfig): string[] => subjectTo.map((text) => text.replace(/[<>]=[^<>]*$/s, ''));

/** The data of a method: a folder, or a list with the pictures that it names. */
async function dataInputs(config: RunConfig): Promise<Entries> {
  return Promise.all(methodPaths(config).map(async (path): Promise<[string, string]> => {
    const pairs = /\.(csv|tsv|jsonl|json)$/i.test(path) ? await readPairs(path).catch(() => []) : [];
    const files = [...new Set(pairs.flatMap(({ winner, loser }) => [winner, loser]))];
    const digests = [await digestOf(path)];
    for (const file of files) digests.push(await digestOf(file));
    return [`data ${basename(path)}`, digests.length === 1 ? digests[0]! : hashText(digests.join())];
  }));
}

/**
 * Reads every file and weight that the session uses: seconds for gigabytes, so only training does it.
 *
 * @throws the signal's reason once that is aborted
 */
export async function inputsOf(session: Session, signal?: AbortSignal): Promise<Inputs> {
  const { config, pipeline, objective, heldOut, prompts, task, evaluator, reported } = session;
  const { heldOut: heldOutSpec, lpips } = config.evaluation;
  const space = featureFolder(config, pipeline.bundled);
  const around: Around = { images: [1, ...task.imageShape], model: pipeline, signal };
  const list = (set: Session['prompts']): string => hashText(JSON.stringify([set.prompts, set.weights]));
  return named([
    ['attune', packageVersion],
    ['node', process.version],
    ['onnxruntime', ortVersion],
    ['processor', await processorKind()],
    // Runs that were begun before there was a choice do not tell it.
    ...(config.precision === 'float32' ? [] : [['precision', config.precision] satisfies Entries[number]]),
    ...await modelInputs(pipeline, signal),
    ...await rewardInputs('reward', objective.judged, [...config.rewards, ...constrainedSpecs(config)], around),
    ...(heldOut ? await rewardInputs('held-out reward', heldOut, heldOutSpec === null ? [] : [heldOutSpec], around) : []),
    ...(space === null ? [] : [['features', await namedDigest(space, mapSpacePaths)] satisfies Entries[number]]),
    ...(lpips === null ? [] : [['lpips', await namedDigest(lpips, mapPairPaths)] satisfies Entries[number]]),
    [`prompts ${basename(prompts.name)}`, list(prompts)],
    ...[evaluator.selection, ...reported].filter((set) => set.list !== prompts.name)
      .map((set): Entries[number] => [`evaluation prompts ${basename(set.list)}`, hashText(JSON.stringify(set.prompts))]),
    ...await dataInputs(config),
  ]);
}

/** By name; several of one name are numbered. Names have no folders: they go into the LoRA file's metadata too. */
function named(entries: Entries): Inputs {
  const found = new Map<string, string>();
  for (const [name, value] of entries) {
    let key = name;
    for (let n = 2; found.has(key); n++) key = `${name} (${n})`;
    found.set(key, value);
  }
  return Object.fromEntries(found);
}

/** Where a run is computed; another place gives other rounding. */
export const placeOf = ({ config, memory: { levers: { microbatch, checkpointing } } }: Pick<Session, 'config' | 'memory'>): Record<string, string> => ({
  device: config.device, threads: String(config.threads ?? `all of ${availableParallelism()}`),
  ...(microbatch !== config.batch && { microbatch: String(microbatch) }),
  ...(checkpointing !== (config.checkpointing ?? false) && { checkpointing: String(checkpointing) }),
});

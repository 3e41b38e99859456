/** @file The rewards by name: what there is, and opening one or a weighted sum as a user writes it. */
import { z } from 'zod';
import { encodePng, jpegBytes, readImage } from '../formats/image.js';
import { holdsSecrets, SECRETS_REMEDY } from '../formats/url-secrets.js';
import { DREAMSIM_TYPES } from '../loading/dreamsim-files.js';
import { LPIPS_TRUNKS } from '../models/lpips.js';
import type { LpipsTrunk } from '../models/lpips.js';
import { clamped } from './clamped.js';
import { clipHead } from './clip-head.js';
import { clipScore } from './clip-score.js';
import { color, COLOR_PROPERTIES } from './color.js';
import type { ColorProperty } from './color.js';
import { emojiClip } from './emoji-clip.js';
import { dinoEncoder, dreamSim } from './encoders.js';
import { hpsV2 } from './hpsv2.js';
import { imageReward } from './image-reward.js';
import { imageSimilarity } from './image-encoder.js';
import { lpipsReward } from './lpips-reward.js';
import { compressibility, incompressibility } from './jpeg.js';
import { jpegSize } from './jpeg-size.js';
import { httpReward } from './http.js';
import { problemOf } from '../formats/plain-issues.js';
import { shown } from '../formats/errors.js';
import { editDistance, suggestion } from '../formats/nearest.js';
import { onnxReward } from './onnx.js';
import { LAYOUTS, PIXELS } from './onnx-image.js';
import { mapPaths, pathText } from './path-option.js';
import { pickScore } from './pickscore.js';
import { fetchClipModel, fetchPublished } from './published.js';
import type { Downloads } from './published.js';
import { PUBLISHED } from './published-files.js';
import type { PublishedFiles } from './published-files.js';
import { RewardSpecError } from './reward.js';
import type { Reward } from './reward.js';
import { selfAlignment } from './self-alignment.js';
import { quality, rewardModel } from './reward-model.js';
import { rotation } from './rotation.js';
import type { ScorerOptions } from './scorer.js';
import type { Execution } from '../runtime/compile.js';
import type { Pipeline } from '../models/pipeline.js';
import { style } from './style.js';
import { symmetry } from './symmetry.js';
import { VLM_ASPECTS, vlmJudge } from './vlm-judge.js';
import { weightedSum } from './weighted.js';

/** What a reward may need beside its options. */
export interface RewardSurroundings {
  readonly downloads?: Downloads;
  /** Loads, or has, the model that the images are for, as it is before anything is trained. */
  readonly base?: () => Promise<Pipeline>;
  /** Of what a reward computes by itself. */
  readonly compile?: Execution;
}

export interface RewardEntry {
  readonly name: string;
  /** One line. */
  readonly description: string;
  readonly differentiable: boolean;
  /** What may follow `?`, each with a description; values are texts. */
  readonly options: z.ZodObject;
  /** @param label the name that the reward gets, unique in its run */
  open(label: string, options: Readonly<Record<string, unknown>>, surroundings?: RewardSurroundings): Promise<Reward>;
}

function entry<S extends z.ZodRawShape>(
  name: string,
  description: string,
  differentiable: boolean,
  shape: S,
  open: (label: string, options: z.infer<z.ZodObject<S>>, surroundings: RewardSurroundings) => Reward | Promise<Reward>,
): RewardEntry {
  const options = z.strictObject(shape);
  return {
    name, description, differentiable, options: options as unknown as z.ZodObject,
    open: async (label, given, surroundings = {}) => open(label, options.parse(given) as z.infer<z.ZodObject<S>>, surroundings),
  };
}

/** The path of what is published as one file. */
export const publishedFile = async (published: PublishedFiles, instead: string, downloads?: Downloads): Promise<string> =>
  `${await fetchPublished(published, instead, downloads)}/${published.files[0]!}`;

const hps = (name: string, description: string, published: PublishedFiles): RewardEntry => entry(name, description, true,
  {
    file: pathText(`${published.files[0]!} of xswu/HPSv2; fetched from the hub by default`).optional(),
    tokenizer: pathText('folder of CLIP\'s tokenizer; that of openai/clip-vit-large-patch14 is fetched by default').optional(),
  },
  async (label, { file, tokenizer }, { downloads }) => hpsV2(label, {
    file: file ?? await publishedFile(published, 'the option file', downloads),
    tokenizer: tokenizer ?? await fetchPublished(PUBLISHED.clipTokenizer, 'the option tokenizer', downloads),
  }));

export const DREAMSIM = {
  folder: pathText('what dreamsim_*_checkpoint.zip of github.com/ssundaram21/dreamsim/releases unpacks to (no hub has it; the ensemble is 1.26 GB, MIT), '
    + 'with dino_vitbase16_pretrain.pth of dl.fbaipublicfiles.com/dino for the types that begin with DINO'),
  type: z.enum(DREAMSIM_TYPES).default('ensemble').describe(`${DREAMSIM_TYPES.join(', ')}; ensemble has DINO as its first branch`),
};
export const DINO_FILE = pathText('dino_vitbase16_pretrain.pth, or the weights of facebook/dino-vitb16; fetched from the hub by default').optional();

const text = (what: string): z.ZodString => z.string().min(1).describe(what);
/** A whole number, written as a text. */
const natural = (what: string, least: number) => z.coerce.number().int().min(least).optional().describe(what);
/** How an ONNX model wants its image, and which output is meant. */
export const ONNX_IMAGE_OPTIONS = {
  pixels: z.enum(Object.keys(PIXELS) as [keyof typeof PIXELS]).describe('how the model wants its pixels: '
    + 'plain (0 to 1), bytes (0 to 255), signed (-1 to 1), imagenet or clip (normalised as these were)'),
  side: natural('side of the image in pixels, if the file leaves it open', 1),
  layout: z.enum(LAYOUTS).optional().describe('order of the image\'s axes, if the file does not tell: nchw (channels first) or nhwc (last)'),
  output: text('name of the output, if there are several').optional(),
};
/** LPIPS' networks by their trunk. */
export const LPIPS_FILES = {
  features: pathText('the trunk\'s weights by torchvision: alexnet-owt-7be5be79.pth, vgg16-397923af.pth or squeezenet1_1-b8a52dc0.pth of download.pytorch.org/models'),
  lins: pathText('alex.pth, vgg.pth or squeeze.pth of lpips/weights/v0.1 in the Python package lpips'),
};
const property = z.enum(Object.keys(COLOR_PROPERTIES) as [ColorProperty, ...ColorProperty[]]);

export const REWARDS: readonly RewardEntry[] = [
  entry('emoji-clip', 'Text alignment of emoji: cosine of image and prompt in the bundled CLIP.', true, {},
    (label) => emojiClip(label, 'emoji-clip')),
  entry('emoji-judge', 'The same in an independently trained CLIP: the held-out judge.', true, {},
    (label) => emojiClip(label, 'emoji-judge')),
  entry('quality', 'Log-odds that an emoji is drawn like a real one, not like a sample of the bundled model.', true, {}, quality),
  entry('style', 'Log-odds that an emoji is drawn in 3D, not flat.', true, {}, style),
  entry('compressibility', 'Minus the estimated kB of a JPEG: simple, smooth pictures.', true, {}, compressibility),
  entry('incompressibility', 'The estimated kB of a JPEG: detail and texture.', true, {}, incompressibility),
  entry('jpeg-compressibility', 'Minus the true kB of a JPEG file of quality 95, as in DDPO.', false, {},
    (label) => jpegSize(label, -1, jpegBytes)),
  entry('jpeg-incompressibility', 'The true kB of a JPEG file of quality 95, as in DDPO.', false, {},
    (label) => jpegSize(label, 1, jpegBytes)),
  entry('symmetry', 'Correlation of the image with its mirror image.', true,
    { mirror: z.enum(['left-right', 'top-bottom']).default('left-right').describe('left-right or top-bottom') },
    (label, { mirror }) => symmetry(label, mirror)),
  entry('rotation', 'Minus the correlation of the image with itself turned by 90°, 180° and 270°.', true, {}, rotation),
  entry('color', 'Mean of a property of the pixels\' colour.', true,
    { property: property.default('brightness').describe(Object.keys(COLOR_PROPERTIES).join(', ')) },
    (label, options) => color(label, options.property)),
  entry('clip-score', 'Text alignment: cosine of image and prompt in a CLIP model, OpenAI\'s ViT-B/32 by default.', true,
    {
      folder: pathText('folder of a CLIPModel as transformers writes it').optional(),
      model: text('or its hub id, org/name[@revision]').optional(),
      tokenizer: pathText('folder of the tokenizer, if it is another').optional(),
      form: z.enum(['cosine', 'paper']).default('cosine').describe('cosine, or paper for 2.5 · max(cosine, 0)'),
      prefix: z.string().default('').describe('before each prompt; the paper has "A photo depicts "'),
    },
    async (label, { folder, model, tokenizer, form, prefix }, { downloads }) => clipScore(label,
      folder ?? await (model === undefined ? fetchPublished(PUBLISHED.clipB, 'the option folder', downloads) : fetchClipModel(model, downloads)),
      { ...(tokenizer !== undefined && { tokenizer }), form, prefix })),
  entry('reward-model', 'Your own taste: log-odds by a model that attune pretrain made of pictures you like and others.', true,
    { folder: pathText('folder that attune pretrain wrote, from a recipe with network: reward-model') },
    (label, { folder }) => rewardModel(label, folder)),
  entry('pickscore', 'Human preference: PickScore (Kirstain et al. 2023), about 20 to 23.', true,
    {
      folder: pathText('folder of yuvalkirstain/PickScore_v1; fetched from the hub by default').optional(),
      tokenizer: pathText('folder of the tokenizer, if it is another').optional(),
    },
    async (label, { folder, tokenizer }, { downloads }) => pickScore(label,
      folder ?? await fetchPublished(PUBLISHED.pickscore, 'the option folder', downloads), tokenizer === undefined ? {} : { tokenizer })),
  hps('hpsv2', 'Human preference: HPSv2 (Wu et al. 2023), about 0.2 to 0.35.', PUBLISHED.hpsv2),
  hps('hpsv2.1', 'Human preference: HPSv2.1, of the same network trained on better data; not comparable with HPSv2.', PUBLISHED.hpsv21),
  entry('image-reward', 'Human preference: ImageReward (Xu et al. 2023), about -2 to 2.', true,
    {
      file: pathText('ImageReward.pt of THUDM/ImageReward; fetched from the hub by default').optional(),
      vocab: pathText('vocab.txt of bert-base-uncased; fetched from the hub by default').optional(),
    },
    async (label, { file, vocab }, { downloads }) => imageReward(label, {
      file: file ?? await publishedFile(PUBLISHED.imageReward, 'the option file', downloads),
      vocab: vocab ?? await publishedFile(PUBLISHED.bertVocabulary, 'the option vocab', downloads),
    })),
  entry('aesthetic', 'LAION\'s aesthetic predictor, about 1 to 10, on CLIP ViT-L/14.', true,
    {
      clip: pathText('folder of openai/clip-vit-large-patch14; fetched from the hub by default').optional(),
      head: pathText('file sac+logos+ava1-l14-linearMSE.pth, or another head in its layout; fetched from the hub by default').optional(),
    },
    async (label, { clip, head }, { downloads }) => clipHead({
      name: label, description: 'LAION aesthetic score', range: [3, 9],
      head: head ?? await publishedFile(PUBLISHED.aestheticHead, 'the option head', downloads),
      clip: clip ?? await fetchPublished(PUBLISHED.clipL, 'the option clip', downloads),
    })),
  entry('self-alignment', 'How much better the base model itself denoises the image with its prompt than without: of sets, not single images.', true, {},
    async (label, _, { base, compile }) => {
      if (!base) throw new RewardSpecError(`Reward ${label} is the judgement of the model that the images are for, and none is at hand here.`);
      return selfAlignment(label, await base(), compile ? { compile } : {});
    }),
  entry('dreamsim', 'Likeness to a picture of yours as people see it: 1 - DreamSim (Fu et al. 2023).', true,
    { image: pathText('the picture'), ...DREAMSIM },
    async (label, { image, folder, type }) => imageSimilarity({ name: label, description: 'likeness to a picture: 1 - DreamSim', range: [0, 1] },
      await dreamSim(label, folder, type), await readImage(image))),
  entry('dino', 'Likeness to a picture of yours in subject: cosine of DINO ViT-B/16\'s class tokens.', true,
    { image: pathText('the picture'), file: DINO_FILE },
    async (label, { image, file }, { downloads }) => imageSimilarity({ name: label, description: 'likeness to a picture: cosine in DINO', range: [0, 1] },
      await dinoEncoder(label, file ?? await publishedFile(PUBLISHED.dino, 'the option file', downloads)), await readImage(image))),
  entry('lpips', 'Likeness to a picture of yours, place by place: minus LPIPS 0.1 (Zhang et al. 2018).', true,
    {
      image: pathText('the picture, resized to the samples\' size'),
      trunk: z.enum(Object.keys(LPIPS_TRUNKS) as [LpipsTrunk]).default('alex').describe('alex, vgg or squeeze'),
      ...LPIPS_FILES,
    },
    async (label, { image, ...options }) => lpipsReward(label, options, await readImage(image))),
  entry('onnx', 'A number that any ONNX model computes from the image, and from the prompt if it reads tokens.', true,
    {
      file: pathText('the .onnx file'), ...ONNX_IMAGE_OPTIONS,
      index: natural('which number of the output\'s row, from 0, if there are several', 0),
      tokenizer: pathText('folder of the CLIP tokenizer, if the model reads the prompt').optional(),
    },
    onnxReward),
  entry('http', 'A scorer of yours that answers HTTP, in any language: POST of PNGs and prompts, scores as JSON.', false,
    {
      url: z.url({ protocol: /^https?$/ }).describe('its address, for instance http://127.0.0.1:8000/score; '
        + 'passwords and keys as names of environment variables in braces: http://me:{PASSWORD}@host/score'),
      timeout: z.coerce.number().positive().default(120).describe('seconds that an answer may take'),
    },
    (label, options) => httpReward(label, options, encodePng)),
  entry('vlm-judge', 'Marks by a vision-language model over an OpenAI-compatible endpoint: the aspects of Diffusion-Sharpening.', false,
    {
      url: z.url({ protocol: /^https?$/ }).describe('its chat completions, for instance http://127.0.0.1:8000/v1/chat/completions'),
      model: text('name of the model there, for instance gpt-4o'),
      keyFrom: z.string().regex(/^[A-Za-z_]\w*$/).optional().describe('name of the environment variable that holds the key, for instance OPENAI_API_KEY; the key itself goes nowhere else'),
      aspect: z.enum([...VLM_ASPECTS, 'mean']).default('overall').describe(`${VLM_ASPECTS.join(', ')}, or mean of the five aspects`),
      timeout: z.coerce.number().positive().default(60).describe('seconds that an answer may take'),
      retries: z.coerce.number().int().min(0).max(20).default(2).describe('how often an answer that cannot be read is asked for again'),
      skip: z.coerce.number().min(0).lt(1).default(0.25).describe('largest share of a batch that may stay without marks (it is told, and counts as the mean of the others)'),
    },
    (label, { keyFrom, ...options }, { downloads }) => vlmJudge(label, { ...options, keyVariable: keyFrom }, encodePng, downloads?.warn)),
];

export { RewardSpecError };

/** One reward of a run, as configuration files hold it. */
export interface RewardSpec {
  readonly name: string;
  /** Share in a weighted sum. */
  readonly weight: number;
  /** The score enters the sum as (score − mean) / std. */
  readonly mean: number;
  readonly std: number;
  /** Before that it is cut to [min, max]. */
  readonly min?: number;
  readonly max?: number;
  readonly options: Readonly<Record<string, string>>;
}

/** Options of every reward. */
const COMMON = ['mean', 'std', 'min', 'max'];

/** What is said of each reward, its options included: a word of it may be what was meant. */
const TEXTS: ReadonlyMap<string, string> = new Map(REWARDS.map(({ name, description, options }) =>
  [name, [description, ...Object.values(options.shape).map((o) => (o as z.ZodType).description ?? '')].join(' ')]));

function entryOf(name: string): RewardEntry {
  const found = REWARDS.find((r) => r.name === name);
  if (found) return found;
  throw new RewardSpecError(`There is no reward "${shown(name)}". ${suggestion(name, REWARDS.map((r) => r.name), TEXTS)}`);
}

/** A reward as a user writes it, with every path among its options replaced. @throws RewardSpecError */
export function mapRewardPaths(text: string, replace: (path: string) => string): string {
  const { name, options } = parseReward(text);
  const mapped = mapPaths(entryOf(name).options, options, replace) as Record<string, string>;
  const at = text.indexOf('?');
  if (at < 0) return text;
  // Values are taken as they stand, so they are replaced where they stand.
  const query = Object.entries(options).reduce(
    (rest, [key, value]) => rest.replace(`&${key}=${value}`, () => `&${key}=${mapped[key]!}`), `&${text.slice(at + 1)}`,
  );
  return `${text.slice(0, at)}?${query.slice(1)}`;
}

/** @throws RewardSpecError naming the reward and the option that is wrong, with the nearest valid names */
function checkSpec(spec: RewardSpec): RewardSpec {
  const { name, options } = spec;
  const { options: shape } = entryOf(name);
  const names = [...Object.keys(shape.shape), ...COMMON];
  const unknown = Object.keys(options).find((key) => !Object.hasOwn(shape.shape, key));
  if (unknown !== undefined) {
    throw new RewardSpecError(`Reward ${name} has no option "${unknown}". ${suggestion(unknown, names)}`);
  }
  const parsed = shape.safeParse(options);
  if (!parsed.success) {
    const { path: key, text: problem } = problemOf(parsed.error, options);
    throw new RewardSpecError(`Reward ${name}, option ${key} ${problem}. It takes: `
      + `${(shape.shape[key] as z.ZodType).description ?? 'a text'}.`);
  }
  for (const key of ['weight', 'mean', 'std'] as const) {
    const value = spec[key];
    if (!Number.isFinite(value) || (key === 'std' && value <= 0)) {
      const needed = key === 'std' ? 'a positive number' : 'a number';
      throw new RewardSpecError(`Reward ${name} has the ${key} ${value}; it must be ${needed}.`);
    }
  }
  const { min = -Infinity, max = Infinity } = spec;
  if (!(min < max)) throw new RewardSpecError(`Reward ${name} is cut to [${min}, ${max}]; min must be less than max.`);
  return spec;
}

/**
 * The `option=value` pairs of a query. An `&` belongs to the value before it unless an option follows, `name=` of one
 * that there is or of nearly one (that is a slip); `&&` is an `&` of the value, whatever follows.
 */
function pairsOf(query: string, names: readonly string[]): string[] {
  const pairs: string[] = [];
  for (const [i, part] of query.split(/(?<!&)&(?!&)/).entries()) {
    const key = /^([\w-]+)=/.exec(part)?.[1];
    const begins = i === 0 || (key !== undefined && names.some((name) => editDistance(key, name) <= Math.max(1, name.length / 4)));
    if (begins) pairs.push(part);
    else pairs[pairs.length - 1] += `&${part}`;
  }
  return pairs.map((pair) => pair.replaceAll('&&', '&'));
}

/**
 * Reads `NAME[:weight][?option=value&…]`. Beside the reward's own options there are `min` and `max`, to which
 * it is cut, and `mean` and `std`, by which it is then normalised. Values are taken as they stand; see `pairsOf` for `&` within them.
 *
 * @throws RewardSpecError with the nearest valid names, or for an address with a password or key in it
 */
export function parseReward(text: string): RewardSpec {
  const [, name = '', weight, query] = /^([^:?]*)(?::([^?]*))?(?:\?(.*))?$/s.exec(text.trim()) ?? [];
  const { options: shape } = entryOf(name);
  if (holdsSecrets(text)) throw new RewardSpecError(`Reward ${name} has a password or key in an address. ${SECRETS_REMEDY}`);
  const options: Record<string, string> = Object.create(null); // so that __proto__ is a key like others
  for (const pair of query ? pairsOf(query, [...Object.keys(shape.shape), ...COMMON]) : []) {
    const at = pair.indexOf('=');
    if (at < 1) throw new RewardSpecError(`Reward ${name}: "${pair}" is not option=value.`);
    options[pair.slice(0, at)] = pair.slice(at + 1);
  }
  const { mean, std, min, max, ...own } = options;
  const number = (what: string, value: string | undefined, otherwise: number): number => {
    if (value === undefined) return otherwise;
    // An empty text is no number, though Number('') is 0.
    const result = value.trim() === '' ? NaN : Number(value);
    if (Number.isNaN(result)) throw new RewardSpecError(`Reward ${name}: ${what} "${value}" is not a number.`);
    return result;
  };
  return checkSpec({
    name, weight: number('weight', weight, 1), mean: number('mean', mean, 0), std: number('std', std, 1), options: own,
    ...(min !== undefined && { min: number('min', min, 0) }), ...(max !== undefined && { max: number('max', max, 0) }),
  });
}

/** Rewards that are used together, as a user writes them. @throws RewardSpecError also if all have the weight 0 */
export function parseRewards(texts: readonly string[]): RewardSpec[] {
  const specs = texts.map(parseReward);
  if (specs.length > 0 && specs.every(({ weight }) => weight === 0)) {
    throw new RewardSpecError(`Reward ${specs.map(({ name }) => name).join(' + ')} has the weight 0, so nothing would be asked for. `
      + 'Give a weight, or leave ":0" out. Beside another reward the weight 0 only measures.');
  }
  return specs;
}

/**
 * Opens rewards one by one, as they are.
 *
 * @param used how often each name was opened before; from the second time on a number is added to it
 * @throws RewardSpecError for a wrong specification; FormatError for a file that is missing or wrong
 */
export async function openEach(specs: readonly RewardSpec[], options: RewardSurroundings, used = new Map<string, number>()): Promise<Reward[]> {
  const opened: Reward[] = [];
  try {
    for (const spec of specs.map(checkSpec)) {
      const count = (used.get(spec.name) ?? 0) + 1;
      used.set(spec.name, count);
      opened.push(await entryOf(spec.name).open(count === 1 ? spec.name : `${spec.name}#${count}`, spec.options, options));
    }
  } catch (error) {
    for (const reward of opened) await reward.release?.();
    throw error;
  }
  return opened;
}

/** The reward within its `min` and `max`. */
export const cutAsSaid = (reward: Reward, { min, max }: RewardSpec): Reward =>
  (min === undefined && max === undefined ? reward : clamped(reward, min ?? -Infinity, max ?? Infinity));

/** Opens what a run is judged by: one reward, or the weighted sum of several. @throws RewardSpecError, FormatError as `openEach` */
export async function openRewards(specs: readonly RewardSpec[], options: ScorerOptions & RewardSurroundings = {}): Promise<Reward> {
  if (specs.length === 0) throw new RewardSpecError('No reward is given. Give at least one.');
  const opened = (await openEach(specs, options)).map((reward, i) => cutAsSaid(reward, specs[i]!));
  const [first] = specs as [RewardSpec];
  const plain = specs.length === 1 && first.weight === 1 && first.mean === 0 && first.std === 1;
  return plain ? opened[0]! : weightedSum(opened.map((reward, i) => ({ ...specs[i]!, reward })), options);
}

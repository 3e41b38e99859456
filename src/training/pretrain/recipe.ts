/** @file A training recipe: which network, its shape, and how it is trained. One file a network, so it can be repeated. */
import { z } from 'zod';
import { clipConfigSchema, clipTextConfigSchema, unetConfigSchema, vaeConfigSchema } from '../../models/config.js';

const training = z.strictObject({
  steps: z.int().positive(),
  batch: z.int().positive(),
  lr: z.number().positive(),
  schedule: z.enum(['constant', 'cosine', 'linear']).default('cosine'),
  warmup: z.int().nonnegative().default(100),
  weightDecay: z.number().nonnegative().default(0.01),
  /** Largest norm of all gradients together. */
  clip: z.number().positive().default(1),
  emaDecay: z.number().min(0).lt(1).default(0.999),
});

const size = z.int().positive().default(64);
const folderName = z.string().regex(/^[\w-]+$/);

/** What `attune pretrain --recipe` reads. */
export const recipeSchema = z.discriminatedUnion('network', [
  z.strictObject({
    network: z.literal('vae'),
    imageSize: size,
    config: vaeConfigSchema,
    training,
    window: z.int().positive(),
    klWeight: z.number().nonnegative().default(1e-4),
    edgeWeight: z.number().nonnegative().default(0.5),
    /** Keep the encoder as it is in the output folder, for a denoiser that has learnt its latents. */
    decoderOnly: z.boolean().default(false),
  }),
  z.strictObject({
    network: z.literal('clip'),
    imageSize: size,
    /** Folder below the output folder. */
    name: folderName,
    config: clipConfigSchema,
    training,
    shift: z.int().nonnegative().default(4),
    noise: z.number().nonnegative().default(0.05),
  }),
  z.strictObject({
    network: z.literal('text-encoder'),
    imageSize: size,
    config: clipTextConfigSchema,
    training,
  }),
  z.strictObject({
    network: z.literal('denoiser'),
    imageSize: size,
    unet: unetConfigSchema,
    textEncoder: clipTextConfigSchema,
    /** The text encoder starts from the weights in the output folder, which its own recipe has made. */
    trainedTextEncoder: z.boolean().default(false),
    /** Written as scheduler/scheduler_config.json. */
    scheduler: z.record(z.string(), z.unknown()),
    training,
    minSnr: z.number().positive().default(5),
    promptDropout: z.number().min(0).max(1).default(0.1),
  }),
  z.strictObject({
    network: z.literal('style-head'),
    imageSize: size,
    /** The CLIP whose image features it reads, a folder below the output folder. */
    clip: folderName,
    /** Scores above zero mean this style. */
    positive: z.string(),
    training,
  }),
  z.strictObject({
    network: z.literal('reward-model'),
    imageSize: size,
    /** Folder below the output folder. */
    name: folderName,
    /** A CLIP below the output folder, whose image encoder is trained further. */
    clip: folderName,
    /** Folders of the worse pictures; those of the data folder are the better ones. Not needed where the data are pairs. */
    worse: z.array(z.string().min(1)).default([]),
    /** Take the better ones as the output folder's VAE renders them, so that they differ from samples in what was drawn alone. */
    throughVae: z.boolean().default(false),
    training,
    shift: z.int().nonnegative().default(4),
    noise: z.number().nonnegative().default(0.05),
    gradientPenalty: z.number().nonnegative().default(0.05),
  }),
]);

export type Recipe = z.infer<typeof recipeSchema>;
export type RecipeOf<N extends Recipe['network']> = Extract<Recipe, { network: N }>;

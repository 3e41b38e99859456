/** @file The kinds of value that a `config.json` may hold, each with its bounds: the file comes from strangers. */
import { z } from 'zod';

/** Several times what any published model has: beyond it, a network would only exhaust time or memory. */
const LARGEST = { width: 1 << 16, words: 1 << 20, side: 1 << 12, repeats: 128, blocks: 8 };

const upTo = (most: number): z.ZodInt => z.int().positive().max(most);
/** Channels or features. */
export const width = upTo(LARGEST.width);
/** Features of which half are sines and half cosines. */
export const evenWidth = width.multipleOf(2);
/** Entries of a vocabulary. */
export const words = upTo(LARGEST.words);
/** Pixels, latents or tokens along one side. */
export const side = upTo(LARGEST.side);
/** How often something is repeated. */
export const repeats = upTo(LARGEST.repeats);
/** The side of a convolution that keeps the size. */
export const oddKernel = z.union([z.literal(1), z.literal(3), z.literal(5), z.literal(7)]);

/** One entry for each block. */
export const eachBlock = <T extends z.ZodType>(item: T): z.ZodArray<T> => z.array(item).min(1).max(LARGEST.blocks);
/** One value for all blocks, or one per block. */
export const perBlock = <T extends z.ZodType>(item: T): z.ZodUnion<[T, z.ZodArray<T>]> =>
  z.union([item, eachBlock(item)]);

/** Features that are not supported may only be switched off; two ways to say so in files. */
export const off = z.union([z.null(), z.literal(false)]).default(false);
export const none = z.union([z.null(), z.literal(false)]).default(null);
/** A number or word that may only have this value. */
export const only = <T extends string | number>(value: T): z.ZodDefault<z.ZodLiteral<T>> =>
  z.literal(value).default(value as never);
/** What training and storage leave in configurations of any class, EMA weights of diffusers' examples among it. */
export const TRAINING_KEYS: readonly string[] = [
  'torch_dtype', 'dtype', 'use_cache', 'gradient_checkpointing', 'use_gradient_checkpointing', 'transformers_version',
  'decay', 'min_decay', 'inv_gamma', 'power', 'optimization_step', 'update_after_step', 'use_ema_warmup',
  'attn_implementation', 'return_dict', 'output_attentions', 'output_hidden_states',
];
/** Keys that cannot change a result. */
export const inert = (...keys: string[]): Record<string, z.ZodOptional<z.ZodUnknown>> =>
  Object.fromEntries(keys.map((key) => [key, z.unknown().optional()]));
/** Inert keys that are not written again: transformers 5 refuses 1 where it expects 1.0, which are one to JSON. */
export const dropped = (...keys: string[]): Record<string, z.ZodType<undefined>> =>
  Object.fromEntries(keys.map((key) => [key, z.unknown().optional().transform(() => undefined)]));

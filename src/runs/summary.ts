/** @file What a run came to: `summary.json` in its folder, one schema for those who write it and those who read it. */
import { z } from 'zod';
import { comparedSchema, setSchema } from '../evaluation/compared.js';
import { evaluationFields, evaluationSchema, withHeldOutError } from '../evaluation/evaluation.js';

/** What whoever compares runs reads; a baseline has no more. */
export const recordSchema = z.object({
  /** The most memory that a process of the run took. */
  peakBytes: z.number(),
  /** Step of the best checkpoint by the guard's rule. */
  best: z.number(),
  /** The best checkpoint at strengths of its LoRA. */
  sweep: z.array(withHeldOutError(evaluationFields.extend({ strength: z.number() }))).default([]),
  /** The best checkpoint and the base model on prompts and noise that did not choose it; the headline first. */
  reported: z.array(comparedSchema).default([]),
  /** Of the base model: the Fréchet distance to as many samples of its own from other noise. */
  independentFrechet: z.number().optional(),
});

const exportSchema = z.object({
  /** Folder below the run's. */
  path: z.string(),
  /** Updates done. */
  step: z.number(),
  /** Why it is there. */
  why: z.string(),
  /** False if it makes the base model's pictures: a LoRA of zeros, or weights that are the base model's. */
  changes: z.boolean(),
});

export const summarySchema = recordSchema.extend({
  folder: z.string(),
  steps: z.number(),
  /** The prompts and noise that the best checkpoint was chosen by; `base` and `tuned` are measured there. */
  selectedOn: setSchema,
  base: evaluationSchema,
  tuned: evaluationSchema,
  /** Of the first of `reported`; without one, of where the checkpoint was chosen, which flatters it. */
  gainInDeviations: z.number().nullable(),
  gainError: z.number().nullable(),
  rewardQueries: z.number(),
  /** Seconds of training, evaluations and checkpoints not counted. */
  seconds: z.number(),
  ended: z.union([z.enum(['finished', 'interrupted']), z.object({ guard: z.string() })]),
  /** What was written as weights, the best first. */
  exported: z.array(exportSchema),
  /** Files of the best. */
  lora: z.array(z.string()),
  report: z.string(),
});

export type Exported = Readonly<z.infer<typeof exportSchema>>;
export type Summary = Readonly<z.infer<typeof summarySchema>>;

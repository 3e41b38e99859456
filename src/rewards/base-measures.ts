/** @file What rewards are like on the base model's images: measured once, before anything is trained, and kept with the run. */
import { z } from 'zod';

const scaleSchema = z.object({ mean: z.number(), std: z.number().nonnegative() });

export const baseMeasuresSchema = z.object({
  /** How many images it was measured on. */
  images: z.int().positive(),
  /** Mean and deviation between images of each reward by itself, by name. */
  rewards: z.record(z.string(), scaleSchema),
  /** The same of all that is asked for together, constraints left out. */
  objective: scaleSchema,
});

export type BaseMeasures = Readonly<z.infer<typeof baseMeasuresSchema>>;

/** What is known so far. */
export interface BaseUnits {
  measured: BaseMeasures | null;
}

/** Mean and deviation of a reward; until they are measured those that change nothing. */
export function scaleOf({ measured }: BaseUnits, name: string): { readonly mean: number; readonly std: number } {
  return measured?.rewards[name] ?? { mean: 0, std: 1 };
}

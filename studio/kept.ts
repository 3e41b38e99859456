/** @file What of a run's weights is on disk, asked for again whenever that may have changed. */
import { useEffect, useState } from 'preact/hooks';
import type { RunSummary } from '../src/studio/messages.js';
import { getJson, runPath } from './api.js';

export interface Kept {
  /** Whether a LoRA was trained. */
  readonly lora: boolean;
  /** Steps whose weights are there, ascending. */
  readonly steps: readonly number[];
  /** Files and folders of LoRAs that were written on request, and where they lie. */
  readonly promoted: readonly string[];
  readonly folder: string;
}

export function useKept({ id, checkpoint, state, best, jobs }: RunSummary): Kept | null {
  const [kept, setKept] = useState<Kept | null>(null);
  useEffect(() => {
    getJson<Kept>(runPath(id, 'kept')).then(setKept, () => {});
  }, [id, checkpoint, state, best?.step, jobs.map((job) => job.state).join()]);
  return kept;
}

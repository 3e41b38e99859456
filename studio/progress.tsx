/** @file How far a run has come: a bar, the phase in words, pace and what is left. */
import type { JSX } from 'preact';
import type { RunSummary } from '../src/studio/messages.js';
import { duration, megabytes } from './words.js';

export function Progress({ run }: { run: RunSummary }): JSX.Element | null {
  const { doing, step, steps } = run;
  if (!doing) return null;
  const within = doing.phase === 'training' || doing.done === null || doing.total === null ? '' : ` ${doing.done}/${doing.total} ${doing.detail}`;
  const facts = [
    doing.secondsLeft === null ? '' : `about ${duration(doing.secondsLeft)} left`,
    doing.secondsPerStep === null ? '' : `${doing.secondsPerStep.toPrecision(2)} s a step`,
    doing.bytes === null ? '' : megabytes(doing.bytes),
  ].filter(Boolean);
  return (
    <div class="progress">
      <progress max={Math.max(1, steps)} value={step} aria-label={`Step ${step} of ${steps}`} />
      <div class="facts"><span class="phase">{doing.phase}{within}</span><span class="muted">{facts.join(' · ')}</span></div>
    </div>
  );
}

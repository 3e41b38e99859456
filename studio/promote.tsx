/** @file Another checkpoint than the guard's, or another strength, written as a LoRA for other programs. */
import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { RunSummary } from '../src/studio/messages.js';
import { Act } from './actions.js';
import { post } from './api.js';
import { useKept } from './kept.js';

/** Dialects, and who reads them. */
const DIALECTS = { kohya: 'A1111, ComfyUI, InvokeAI', diffusers: 'diffusers', 'diffusers-old': 'diffusers before 0.22', peft: 'PEFT' } as const;

export function Promote({ run }: { run: RunSummary }): JSX.Element | null {
  const kept = useKept(run);
  const [chosen, setStep] = useState<number | null>(null);
  const [strength, setStrength] = useState('1');
  const [dialect, setDialect] = useState('kohya');
  if (!kept?.lora || kept.steps.length === 0) return null;
  const step = chosen ?? (kept.steps.includes(run.best?.step ?? 0) ? run.best!.step : kept.steps.at(-1)!);
  const job = run.jobs.find((j) => j.what === 'export');
  return (
    <section class="card part promote" aria-label="Promote">
      <h3>Promote another checkpoint</h3>
      <p class="muted">{run.best && run.best.step > 0 ? `The run's own choice is step ${run.best.step} at strength 1. ` : ''}Any of these can be written as a LoRA instead; at another strength 1 means that.</p>
      <div class="bar controls">
        <label>Step <select value={step} onChange={(e) => setStep(Number(e.currentTarget.value))}>{kept.steps.map((s) => <option key={s} value={s}>{s}{s === run.best?.step ? ' (best)' : ''}</option>)}</select></label>
        <label>Strength <input value={strength} size={4} inputMode="decimal" onInput={(e) => setStrength(e.currentTarget.value)} /></label>
        <label>For <select value={dialect} onChange={(e) => setDialect(e.currentTarget.value)}>{Object.entries(DIALECTS).map(([name, who]) => <option key={name} value={name}>{who} ({name})</option>)}</select></label>
        <Act label="Write LoRA" act={() => post('/api/promote', { run: run.id, step, strength: Number(strength.replace(',', '.')), dialect })} />
      </div>
      {job?.state === 'running' ? <p role="status" class="muted"><span class="wait" /> {job.text || 'starting'}</p> : null}
      {job?.state === 'failed' ? <p class="problem" role="alert">{job.text}</p> : null}
      {kept.promoted.length > 0 ? <ul class="files">{kept.promoted.map((name) => <li key={name}><code>{kept.folder}/{name}</code></li>)}</ul> : null}
    </section>
  );
}

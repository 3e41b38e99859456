/** @file What can be done with a run: stop it, end it at once, go on with it. What fails says so beside the button. */
import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { RunSummary } from '../src/studio/messages.js';
import { post } from './api.js';
import { canResume, isLive } from './words.js';

/** A button that does something on the server, and cannot be pressed twice meanwhile. */
export function Act({ label, name, kind = '', title, act }: { label: string; name?: string; kind?: string; title?: string; act: () => Promise<unknown> }): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  async function press(): Promise<void> {
    setBusy(true);
    setProblem('');
    await act().catch((error: Error) => setProblem(error.message));
    setBusy(false);
  }
  return (
    <>
      <button class={kind} title={title} aria-label={name} disabled={busy} onClick={() => void press()}>{label}</button>
      {problem ? <span class="problem" role="alert">{problem}</span> : null}
    </>
  );
}

/** @param full what the run's own page has beside */
export function Actions({ run, full = false }: { run: RunSummary; full?: boolean }): JSX.Element {
  const { id, stopping, state } = run;
  return (
    <span class="actions">
      {state === 'running' && !stopping && full ? <Act key="sample" label="Sample now" title="Pictures of the evaluation's prompts, after the update under way" act={() => post('/api/ask', { run: id, wish: 'sample' })} /> : null}
      {state === 'running' && !stopping && full ? <Act key="save" label="Save now" title="Keep the weights as they are, after the update under way" act={() => post('/api/ask', { run: id, wish: 'save' })} /> : null}
      {isLive(run) && !stopping ? <Act key="stop" label="Stop" title="Save a checkpoint and leave" act={() => post('/api/stop', { run: id })} /> : null}
      {isLive(run) && stopping ? <Act key="now" label="End now" kind="danger" title="End at once, without a checkpoint" act={() => post('/api/stop', { run: id, now: true })} /> : null}
      {canResume(run) ? <Act key="resume" label="Resume" kind="primary" title="Go on from the last checkpoint" act={() => post('/api/resume', { run: id })} /> : null}
      {state === 'failed' ? <Act key="dismiss" label="Dismiss" act={() => post('/api/dismiss', { run: id })} /> : null}
    </span>
  );
}

export function Badge({ run, text }: { run: RunSummary; text: string }): JSX.Element {
  return <span class={`badge ${run.stopping ? 'stopping' : run.state}`}><i />{text}</span>;
}

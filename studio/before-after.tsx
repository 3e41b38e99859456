/** @file Two pictures of one seed over each other: a divider to drag, and a button that shows the other one while it is held. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Picture } from '../src/studio/messages.js';
import { Shot, stepsOf } from './images.js';

interface Props {
  readonly run: string;
  readonly pictures: readonly Picture[];
  readonly opened: { readonly index: number; readonly step: number; readonly strength: number };
  close(): void;
}

export function BeforeAfter({ run, pictures, opened, close }: Props): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const steps = stepsOf(pictures);
  const [left, setLeft] = useState(0);
  const [right, setRight] = useState(opened.step === 0 ? steps.at(-1) ?? 0 : opened.step);
  const [index, setIndex] = useState(opened.index);
  const [cut, setCut] = useState(50);
  const [held, setHeld] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  const at = (step: number, strength: number): Picture | undefined => pictures.find((p) => p.step === step && p.index === index && p.strength === strength);
  const before = at(left, 1);
  const after = at(right, right === opened.step ? opened.strength : 1) ?? at(right, 1);
  const indices = [...new Set(pictures.map((p) => p.index))].toSorted((a, b) => a - b);
  const go = (by: number): void => setIndex(indices[(indices.indexOf(index) + by + indices.length) % indices.length] ?? index);
  const name = (step: number): string => (step === 0 ? 'base model' : `step ${step}`);
  const blink = (e: KeyboardEvent, on: boolean): void => {
    if (e.key !== 'b' || e.ctrlKey || e.metaKey) return;
    setHeld(on);
  };
  const choice = (label: string, value: number, set: (step: number) => void): JSX.Element => (
    <label>{label} <select value={value} onChange={(e) => set(Number(e.currentTarget.value))}>{steps.map((s) => <option key={s} value={s}>{name(s)}</option>)}</select></label>
  );
  return (
    <dialog ref={dialog} class="compare" aria-label="Before and after" onClose={close} onClick={(e) => e.target === e.currentTarget && e.currentTarget.close()}
      onKeyDown={(e) => blink(e, true)} onKeyUp={(e) => blink(e, false)}>
      <header class="bar">
        <b class="grow">{after?.prompt ?? before?.prompt ?? ''}</b>
        <button class="plain" aria-label="Close" onClick={() => dialog.current?.close()}>✕</button>
      </header>
      <div class="over" style={{ '--cut': `${held ? 100 : cut}%` }}>
        {after ? <Shot run={run} picture={after} size={null} /> : null}
        {before ? <div class="before"><Shot run={run} picture={before} size={null} /></div> : null}
        {held ? null : <i class="divider" />}
        <input type="range" min="0" max="100" step="0.5" value={cut} aria-label="Divider" aria-valuetext={`${Math.round(cut)}% ${name(left)}`} onInput={(e) => setCut(Number(e.currentTarget.value))} />
        <span class="tag left">{name(left)}</span>{held ? null : <span class="tag right">{name(right)}</span>}
      </div>
      <footer class="bar">
        <button onClick={() => go(-1)} aria-label="Previous picture">←</button>
        <button onClick={() => go(1)} aria-label="Next picture">→</button>
        <button class="grow" onPointerDown={() => setHeld(true)} onPointerUp={() => setHeld(false)} onPointerLeave={() => setHeld(false)}>Hold to blink <kbd>B</kbd></button>
        {choice('Left', left, setLeft)}{choice('Right', right, setRight)}
      </footer>
    </dialog>
  );
}

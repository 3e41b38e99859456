/** @file Pictures of the same prompts and noise over the steps, with one slider for all; and over strengths where there are. */
import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Picture } from '../src/studio/messages.js';
import { BeforeAfter } from './before-after.js';
import { imageUrl, Shot, stepsOf } from './images.js';
import { logOf } from './logs.js';

/** Pictures of a prompt that are shown at first. */
const FEW = 4;

interface Opened {
  readonly index: number;
  readonly step: number;
  readonly strength: number;
}

export function Pictures({ run }: { run: string }): JSX.Element {
  const log = logOf(run);
  void log.version.value;
  const { pictures } = log;
  const steps = stepsOf(pictures);
  const [chosen, setChosen] = useState<number | null>(null);
  const [strength, setStrength] = useState(1);
  const [all, setAll] = useState(false);
  const [opened, setOpened] = useState<Opened | null>(null);
  const step = chosen !== null && steps.includes(chosen) ? chosen : steps.at(-1) ?? 0;
  const strengths = strengthsAt(pictures, step);
  const shown = strengths.includes(strength) ? strength : 1;
  // Step 0 is the base model at whatever strength.
  const now = pictures.filter((p) => p.step === (shown === 0 ? 0 : step) && p.strength === (shown === 0 ? 1 : shown)).toSorted((a, b) => a.index - b.index);

  const ahead = steps[steps.indexOf(step) + 1];
  const behind = steps[steps.indexOf(step) - 1];
  useEffect(() => {
    for (const p of pictures) if (p.strength === 1 && (p.step === ahead || p.step === behind)) new Image().src = imageUrl(run, p);
  }, [step, pictures.length]);

  if (steps.length === 0) return <p class="muted">The first pictures come with the first evaluation, of the base model.</p>;
  const at = steps.indexOf(step);
  const prompts = [...new Set(now.map((p) => p.prompt))];
  return (
    <section aria-label="Pictures">
      <div class="bar sliders">
        <label class="grow">Step
          <input type="range" min="0" max={steps.length - 1} value={at} aria-valuetext={`step ${step}`} disabled={steps.length < 2}
            onInput={(e) => setChosen(steps[Number(e.currentTarget.value)] ?? null)} />
          <output>{step === 0 ? 'base model' : step}</output>
        </label>
        {strengths.length > 1 ? (
          <label class="grow">LoRA strength
            <input type="range" min="0" max={strengths.length - 1} value={strengths.indexOf(shown)} aria-valuetext={`strength ${shown}`}
              onInput={(e) => setStrength(strengths[Number(e.currentTarget.value)] ?? 1)} />
            <output>× {shown}</output>
          </label>
        ) : null}
        <label><input type="checkbox" checked={all} onChange={(e) => setAll(e.currentTarget.checked)} /> all steps side by side</label>
      </div>
      {all ? <Wall run={run} pictures={pictures} steps={steps} open={setOpened} /> : (
        <div class="prompts">
          {prompts.map((prompt) => <Prompt key={prompt} run={run} prompt={prompt} pictures={now.filter((p) => p.prompt === prompt)} open={setOpened} />)}
        </div>
      )}
      {opened ? <BeforeAfter run={run} pictures={pictures} opened={opened} close={() => setOpened(null)} /> : null}
    </section>
  );
}

function strengthsAt(pictures: readonly Picture[], step: number): number[] {
  const found = new Set(pictures.filter((p) => p.step === step).map((p) => p.strength));
  if (found.size < 2) return [1];
  return [...found.add(0)].toSorted((a, b) => a - b);
}

type Open = (opened: Opened) => void;

function Prompt({ run, prompt, pictures, open }: { run: string; prompt: string; pictures: readonly Picture[]; open: Open }): JSX.Element {
  const [more, setMore] = useState(false);
  return (
    <figure class="card prompt">
      <div class="seeds">
        {(more ? pictures : pictures.slice(0, FEW)).map((p) => (
          <button key={p.index} class="shot" title="Compare with the base model" onClick={() => open(p)}><Shot run={run} picture={p} /></button>
        ))}
      </div>
      <figcaption>{prompt} {pictures.length > FEW ? <button class="link" onClick={() => setMore(!more)}>{more ? 'fewer' : `${pictures.length - FEW} more`}</button> : null}</figcaption>
    </figure>
  );
}

/** Prompts down, steps across: of each prompt the first picture. */
function Wall({ run, pictures, steps, open }: { run: string; pictures: readonly Picture[]; steps: readonly number[]; open: Open }): JSX.Element {
  const full = pictures.filter((p) => p.strength === 1).toSorted((a, b) => a.index - b.index);
  const prompts = [...new Set(full.map((p) => p.prompt))];
  return (
    <div class="scroll wall">
      <table>
        <thead><tr><th scope="col">Prompt</th>{steps.map((s) => <th scope="col" key={s}>{s === 0 ? 'base' : s}</th>)}</tr></thead>
        <tbody>
          {prompts.map((prompt) => (
            <tr key={prompt}>
              <th scope="row">{prompt}</th>
              {steps.map((s) => {
                const picture = full.find((p) => p.prompt === prompt && p.step === s);
                return <td key={s}>{picture ? <button class="shot" onClick={() => open(picture)}><Shot run={run} picture={picture} size={128} /></button> : null}</td>;
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

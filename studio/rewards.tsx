/** @file The rewards of a run: one or several, each with a weight and options, as `--reward NAME:weight?option=value` has them. */
import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Choices } from './choices.js';
import { Picker } from './picker.js';

interface Term {
  readonly name: string;
  readonly weight: string;
  readonly options: Readonly<Record<string, string>>;
}

function termOf(spec: string): Term {
  const [, name = spec, weight = '', query = ''] = /^([^:?]+)(?::([^?]*))?(?:\?(.*))?$/.exec(spec) ?? [];
  // A & that belongs to a value is written twice.
  const options = query.replaceAll('&&', '\0').split('&').filter(Boolean).map((part) => part.replaceAll('\0', '&'));
  return { name, weight, options: Object.fromEntries(options.map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)])) };
}

function specOf({ name, weight, options }: Term): string {
  const given = Object.entries(options).filter(([, value]) => value !== '').map(([key, value]) => `${key}=${value.replaceAll(/&(?=\w+=)/g, '&&')}`);
  return `${name}${weight === '' || weight === '1' ? '' : `:${weight}`}${given.length > 0 ? `?${given.join('&')}` : ''}`;
}

interface Props {
  readonly known: Choices;
  readonly value: readonly string[] | undefined;
  readonly preset: readonly string[];
  set(value: readonly string[] | undefined): void;
}

export function Rewards({ known, value, preset, set }: Props): JSX.Element {
  const terms = (value ?? preset).map(termOf);
  const put = (i: number, term: Term | null): void => {
    const next = term ? terms.with(i, term) : terms.toSpliced(i, 1);
    set(next.length === 0 ? undefined : next.map(specOf));
  };
  return (
    <>
      {terms.map((term, i) => <One key={i} known={known} term={term} set={(next) => put(i, next)} remove={terms.length > 1 ? () => put(i, null) : null} />)}
      <button class="link" onClick={() => set([...terms.map(specOf), known.rewards[0]!.name])}>Add another reward</button>
      {value ? <> <button class="link" onClick={() => set(undefined)}>back to the default</button></> : null}
    </>
  );
}

function One({ known, term, set, remove }: { known: Choices; term: Term; set(next: Term): void; remove: (() => void) | null }): JSX.Element {
  const [picking, setPicking] = useState<string | null>(null);
  const about = known.rewards.find((r) => r.name === term.name);
  const settings = known.rewardSettings[term.name] ?? [];
  const needed = settings.some((s) => s.required);
  const option = (key: string, text: string): void => set({ ...term, options: { ...term.options, [key]: text } });
  return (
    <div class="term">
      <div class="bar nowrap">
        <select class="grow" aria-label="Reward" value={term.name} onChange={(e) => set({ name: e.currentTarget.value, weight: term.weight, options: {} })}>
          {known.rewards.map((r) => <option key={r.name} value={r.name}>{r.name}</option>)}
        </select>
        <label class="weight">× <input aria-label={`Weight of ${term.name}`} value={term.weight} placeholder="1" inputMode="decimal" onChange={(e) => set({ ...term, weight: e.currentTarget.value.trim() })} /></label>
        {remove ? <button class="plain" aria-label={`Remove ${term.name}`} onClick={remove}>✕</button> : null}
      </div>
      {about ? <p class="muted">{about.description}{about.differentiable ? '' : ' A black box, for methods that need no gradient.'}</p> : null}
      {settings.length > 0 ? (
        <details open={needed || Object.keys(term.options).length > 0}>
          <summary>Options</summary>
          <div class="grid">
            {settings.map((s) => (
              <div class="field" key={s.name}>
                <label>{s.name}{s.required ? ' (required)' : ''}
                  <span class="bar nowrap">
                    <input class="grow" value={term.options[s.name] ?? ''} placeholder={s.default || s.takes} onChange={(e) => option(s.name, e.currentTarget.value.trim())} />
                    {/file|folder|path|vocab/.test(s.name) ? <button onClick={() => setPicking(s.name)}>Browse</button> : null}
                  </span>
                </label>
                {s.meaning ? <small class="muted">{s.meaning}</small> : null}
              </div>
            ))}
          </div>
        </details>
      ) : null}
      {picking === null ? null : <Picker kind="reward" close={() => setPicking(null)} choose={(path) => option(picking, path)} />}
    </div>
  );
}

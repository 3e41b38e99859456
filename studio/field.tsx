/** @file One setting of a form: the input that its kind asks for, its default, its meaning. */
import type { JSX } from 'preact';
import type { Setting } from '../src/training/settings-table.js';

/** A setting that others lie in. */
export const isSection = ({ takes }: Setting): boolean => /^settings\b/.test(takes);

const isChoice = (takes: string): boolean => takes.includes(' | ') && takes.split(' | ').every((word) => /^[\w.+*-]+$/.test(word)) && !/^(?:number|integer|text)\b/.test(takes);

/** What was typed as a value of the setting; undefined for nothing, which leaves it at its default. */
export function valueOf(takes: string, text: string): unknown {
  const typed = text.trim();
  if (typed === '') return undefined;
  if (typed === 'null' && /\bnull\b/.test(takes)) return null;
  if (takes === 'true | false') return typed === 'true';
  if (takes.startsWith('list of')) return typed.split(',').map((part) => valueOf(takes.slice('list of '.length), part)).filter((v) => v !== undefined);
  const number = Number(typed);
  if (/\b(?:number|integer)\b/.test(takes) && Number.isFinite(number)) return number;
  return typed;
}

const textOf = (value: unknown): string =>
  (value === undefined ? '' : value === null ? 'null' : Array.isArray(value) ? value.map(textOf).join(', ') : String(value));

export function Field({ setting, value, now, set }: { setting: Setting; value: unknown; now: unknown; set(value: unknown): void }): JSX.Element {
  const { name, takes, default: preset, meaning, required } = setting;
  // A default in the schema may be another one for this model.
  const unset = now === undefined ? (preset.startsWith('[') ? textOf(JSON.parse(preset)) : preset) : textOf(now);
  const id = `f-${name}`;
  const common = { id, 'aria-describedby': meaning ? `${id}-m` : undefined };
  return (
    <div class={`field ${value === undefined ? '' : 'set'}`}>
      <label for={id}>{name.replace(/^method\./, '')}</label>
      {isChoice(takes) ? (
        <select {...common} value={value === undefined ? '' : textOf(value)} onChange={(e) => set(valueOf(takes, e.currentTarget.value))}>
          <option value="">{unset || 'default'}</option>
          {takes.split(' | ').filter((word) => word !== unset).map((word) => <option key={word} value={word}>{word}</option>)}
        </select>
      ) : (
        <input {...common} required={required} inputMode={/^(?:number|integer)/.test(takes) ? 'decimal' : undefined} placeholder={unset || takes}
          value={textOf(value)} onChange={(e) => set(valueOf(takes, e.currentTarget.value))} />
      )}
      {meaning ? <small id={`${id}-m`} class="muted">{meaning}</small> : null}
    </div>
  );
}

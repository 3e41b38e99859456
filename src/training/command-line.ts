/** @file Settings as arguments of `attune train`: which flag stands for which setting. */

/** Flags by the names that commander gives them, and the settings that they are. `--reward`, `--subject-to` and `--set` are beside them. */
export const FIELDS: Readonly<Record<string, string>> = {
  model: 'model', like: 'like', vae: 'vae', prediction: 'prediction', embedding: 'embeddings', clipSkip: 'clipSkip', precision: 'precision', method: 'method.name', prompts: 'prompts', steps: 'steps', batch: 'batch', microbatch: 'microbatch', lr: 'lr', seed: 'seed', normalise: 'normalise',
  guidance: 'guidance', sampler: 'sampler', spacing: 'spacing', samplingSteps: 'samplingSteps', device: 'device', threads: 'threads', workers: 'workers', memory: 'memory',
};

const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** A list's own flag takes one of its values at a time. */
const LISTS: Readonly<Record<string, string>> = { rewards: '--reward', subjectTo: '--subject-to', embeddings: '--embedding' };

/** A flag with its value. One that begins with a dash goes with it in one word, so that it is no flag itself. */
const given = (flag: string, value: string): string[] => (value.startsWith('-') ? [`${flag}=${value}`] : [flag, value]);

/**
 * Settings by dotted name as arguments: the flag that there is for one, else `--set`. A value is JSON, which is YAML, but
 * for texts that YAML reads as themselves.
 */
export function trainArguments(settings: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(settings).flatMap(([path, value]) => {
    if (LISTS[path] && Array.isArray(value)) return value.flatMap((each) => given(LISTS[path]!, String(each)));
    const flag = Object.entries(FIELDS).find(([, setting]) => setting === path)?.[0];
    if (flag && (typeof value === 'string' || typeof value === 'number')) return given(flagOf(flag), String(value));
    const plain = typeof value === 'string' && /^[A-Za-z][\w./+-]*$/.test(value) && !/^(?:true|false|null|yes|no|on|off)$/i.test(value);
    return ['--set', `${path}=${plain ? value : JSON.stringify(value)}`];
  });
}

/** An argument as a POSIX shell takes it. */
export const shellWord = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll('\'', '\'\\\'\'')}'`);

/** @file `attune list`: what there is to choose from, by name. */
import { Argument, Command } from 'commander';
import { METHODS } from '../methods/index.js';
import { REWARDS } from '../rewards/registry.js';
import { SEARCHES } from '../search/index.js';
import { LISTS } from '../training/catalogue.js';
import type { Row } from '../training/catalogue.js';
import { configSchema } from '../training/config.js';
import { settingsOf } from '../training/settings-table.js';
import type { Setting } from '../training/settings-table.js';
import { suggestion } from '../formats/nearest.js';
import { UsageError } from './arguments.js';
import { table } from './table.js';

/** What has settings of its own, and what these are called on the command line. */
const DETAILS = {
  methods: { entries: METHODS, prefix: 'method.', use: '--set KEY=VALUE' },
  rewards: { entries: REWARDS, prefix: '', use: '--reward NAME?KEY=VALUE&KEY=VALUE (&& for an & before a KEY= within a value)' },
  searches: { entries: SEARCHES, prefix: 'search.', use: '--set KEY=VALUE' },
} as const;

/** @throws UsageError for a name that is not listed */
function detailsOf(what: string, name: string): { use: string; settings: Setting[] } {
  if (!Object.hasOwn(DETAILS, what)) {
    throw new UsageError(`attune list ${what} takes no name; these have settings of their own: ${Object.keys(DETAILS).join(', ')}`);
  }
  const { entries, prefix, use } = DETAILS[what as keyof typeof DETAILS];
  const found = entries.find((entry) => entry.name === name);
  if (!found) throw new UsageError(`there is no "${name}" among the ${what}. ${suggestion(name, entries.map((e) => e.name))}`);
  return { use: use.replace('NAME', name), settings: settingsOf(found.options, prefix) };
}

function paragraphs({ use, settings }: { use: string; settings: readonly Setting[] }): string {
  if (settings.length === 0) return 'It has no settings of its own.\n';
  const blocks = settings.map(({ name, takes, default: preset, required, meaning }) =>
    `${name}  ${takes}${required ? ', required' : preset === '' ? '' : `, ${preset} by default`}\n${meaning === '' ? '' : `    ${meaning}\n`}`);
  return `Given with ${use}:\n\n${blocks.join('')}`;
}

const cell = (value: Row[string]): string =>
  (typeof value === 'boolean' ? (value ? 'yes' : 'no') : Array.isArray(value) ? value.join(', ') : String(value));

export function listCommand(): Command {
  return new Command('list')
    .description('Show what there is: models, methods, rewards, prompt lists, recipes of papers, samplers, searches, devices or settings.')
    .addArgument(new Argument('<what>').choices([...Object.keys(LISTS), 'settings']))
    .argument('[name]', 'a method, reward or search whose own settings are to be explained')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExamples:\n  attune list rewards\n  attune list methods nabla-db\n  attune list settings\n')
    .action(async (what: keyof typeof LISTS | 'settings', name: string | undefined, { json }: { json?: boolean }) => {
      if (what === 'settings' || name !== undefined) {
        const details = name === undefined
          ? { use: '--set KEY=VALUE, or in a file for --config', settings: settingsOf(configSchema) }
          : detailsOf(what, name);
        process.stdout.write(json ? `${JSON.stringify(details.settings)}\n` : paragraphs(details));
        return;
      }
      const rows = await LISTS[what]();
      const titles = Object.keys(rows[0] ?? {});
      process.stdout.write(json
        ? `${JSON.stringify(rows)}\n`
        : `${table([titles, ...rows.map((row) => titles.map((title) => cell(row[title]!)))]).join('\n')}\n`);
    });
}

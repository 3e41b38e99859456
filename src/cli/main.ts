#!/usr/bin/env node
/** @file The `attune` command: reads arguments, runs one command, turns errors into messages and exit codes. */
import { Command, CommanderError, Help } from 'commander';
import type { Option } from 'commander';
import { packageVersion } from '../formats/package-root.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { explain } from './explain.js';
import { clipped, guardOutput } from './output.js';
import { Interrupted, isChild, obeyParent, supervise } from './supervise.js';

/** Commands that compute for long, and so run in a child process that cannot block signals. */
const HEAVY = new Set(['train', 'pretrain', 'sample', 'eval', 'search', 'plan', 'reward']);
/** Those of `attune runs` too. */
const HEAVY_OF_RUNS = new Set(['sweep', 'export']);

/** The commands in the order of `--help`. Each loads what it needs: all of it takes as long as many a command does. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  train: async () => (await import('./train.js')).trainCommand(),
  sample: async () => (await import('./sample.js')).sampleCommand(),
  search: async () => (await import('./search.js')).searchCommand(),
  eval: async () => (await import('./eval.js')).evalCommand(),
  plan: async () => (await import('./plan.js')).planCommand(),
  pretrain: async () => (await import('./pretrain.js')).pretrainCommand(),
  lora: async () => (await import('./lora.js')).loraCommand(),
  compare: async () => (await import('./compare.js')).compareCommand(),
  runs: async () => (await import('./runs.js')).runsCommand(),
  reward: async () => (await import('./reward.js')).rewardCommand(),
  studio: async () => (await import('./studio.js')).studioCommand(),
  list: async () => (await import('./list.js')).listCommand(),
  doctor: async () => (await import('./doctor.js')).doctorCommand(),
};

/** @param name the command that is asked for; what is none is answered with all of them in view */
async function program(name: string | undefined): Promise<Command> {
  const attune = new Command('attune')
    .description('Align a text-to-image diffusion model to a reward, with nothing but npm.')
    .version(packageVersion)
    .showHelpAfterError('(add --help for what is possible)')
    .enablePositionalOptions()
    .exitOverride();
  const own = name === undefined || !Object.hasOwn(COMMANDS, name) ? undefined : COMMANDS[name];
  const commands = own ? [await own()] : await Promise.all(Object.values(COMMANDS).map((command) => command()));
  // An option that may be repeated starts out empty, which need not be told.
  const optionDescription = (option: Option): string => new Help().optionDescription(option).replace(' (default: [])', '');
  for (const command of commands) attune.addCommand(command.exitOverride().configureHelp({ optionDescription }));
  const everyCommand = (command: Command): Command[] => [command, ...command.commands.flatMap(everyCommand)];
  for (const command of everyCommand(attune)) command.configureOutput({ outputError: (text, write) => write(indented(text)) });
  return attune;
}

/** What begins a line is ours, whatever the name of a file or option holds. */
const indented = (message: string): string => `${clipped(message.trimEnd()).replaceAll('\n', '\n  ')}\n`;

async function main(): Promise<number> {
  const [name, ...rest] = process.argv.slice(2);
  const onlyHelp = rest.includes('--help') || rest.includes('-h');
  if (name !== undefined && (HEAVY.has(name) || (name === 'runs' && HEAVY_OF_RUNS.has(rest[0]!))) && !onlyHelp && !isChild()) return supervise();
  if (isChild()) obeyParent();
  try {
    await (await program(name)).parseAsync();
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof Interrupted) return error.exitCode;
    const { message, exitCode } = explain(error);
    process.stderr.write(indented(`attune: ${withoutSecrets(message)}`));
    return exitCode;
  }
}

// A reader that went away (`attune … | head`, a closed terminal) costs its output, never the work.
for (const stream of [process.stdout, process.stderr]) {
  guardOutput(stream);
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
// Node itself would write it past the guard.
process.on('uncaughtException', (error) => {
  process.stderr.write(`attune: ${error.stack ?? String(error)}\n`);
  process.exit(1);
});
process.exitCode = await main();

#!/usr/bin/env node
/** @file The `attune` command: reads arguments, runs one command, turns errors into messages and exit codes. */
import { Command, CommanderError, Help } from 'commander';
import type { Option } from 'commander';
import { packageVersion } from '../formats/package-root.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { compareCommand } from './compare.js';
import { doctorCommand } from './doctor.js';
import { evalCommand } from './eval.js';
import { explain } from './explain.js';
import { listCommand } from './list.js';
import { loraCommand } from './lora.js';
import { clipped, guardOutput } from './output.js';
import { planCommand } from './plan.js';
import { pretrainCommand } from './pretrain.js';
import { rewardCommand } from './reward.js';
import { runsCommand } from './runs.js';
import { sampleCommand } from './sample.js';
import { searchCommand } from './search.js';
import { studioCommand } from './studio.js';
import { trainCommand } from './train.js';
import { Interrupted, isChild, obeyParent, supervise } from './supervise.js';

/** Commands that compute for long, and so run in a child process that cannot block signals. */
const HEAVY = new Set(['train', 'pretrain', 'sample', 'eval', 'search', 'plan', 'reward']);
/** Those of `attune runs` too. */
const HEAVY_OF_RUNS = new Set(['sweep', 'export']);

function program(): Command {
  const attune = new Command('attune')
    .description('Align a text-to-image diffusion model to a reward, with nothing but npm.')
    .version(packageVersion)
    .showHelpAfterError('(add --help for what is possible)')
    .enablePositionalOptions()
    .exitOverride();
  const commands = [
    trainCommand(), sampleCommand(), searchCommand(), evalCommand(), planCommand(), pretrainCommand(), loraCommand(),
    compareCommand(), runsCommand(), rewardCommand(), studioCommand(), listCommand(), doctorCommand(),
  ];
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
    await program().parseAsync();
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

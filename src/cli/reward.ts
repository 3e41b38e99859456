/** @file `attune reward`: looking at rewards before one is trained on. */
import { Command } from 'commander';
import { checkCommand } from './reward/check.js';

export function rewardCommand(): Command {
  return new Command('reward').description('Examine rewards.')
    .addCommand(checkCommand().exitOverride().showHelpAfterError('(add --help for what is possible)'));
}

/** @file `attune lora`: looking at LoRA files and making others of them. */
import { Command } from 'commander';
import { convertCommand, scaleCommand } from './lora/convert.js';
import { inspectCommand } from './lora/inspect.js';
import { mergeCommand } from './lora/merge.js';

export function loraCommand(): Command {
  const lora = new Command('lora').description('Inspect, convert, merge and scale LoRA files of every dialect.');
  for (const command of [inspectCommand(), convertCommand(), mergeCommand(), scaleCommand()]) {
    lora.addCommand(command.exitOverride().showHelpAfterError('(add --help for what is possible)'));
  }
  return lora;
}

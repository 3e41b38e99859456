/** @file `attune studio`: the local web page over the folders of runs. */
import { Command } from 'commander';
import { openStudio } from '../studio/server.js';
import { UsageError } from './arguments.js';
import { collect, wholeNumber } from './option-values.js';
import { RUNS } from './runs/choose.js';

interface Flags {
  port: number;
  runs: string;
  host?: string;
  allowedHost: string[];
  root: string[];
}

const MORE = `
The page shows every run of the folder as its log has it, whoever started it: state, progress, curves as they come, pictures
of the same seeds over the steps, and it starts, queues, stops and resumes runs. It keeps no data base: what runs that it
started wrote to their terminal is in RUNS/.studio, the queue in RUNS/queue.json, votes in RUNS/votes, prompt sets in RUNS/prompts.

Open the address that is printed. It has a random token in it, which the browser trades for a cookie; without it nothing is
answered. The server is on this machine alone (127.0.0.1). To look at it from another one, forward the port:
  ssh -L 7860:127.0.0.1:7860 machine
With --host it is reachable from outside, unencrypted: whoever reads the line has the token.

Ctrl-C ends the studio at once. Runs that it started go on, and are there when it is started again; stop them in the page.

Examples:
  attune studio
  attune studio --port 0 --runs experiments
`;

export function studioCommand(): Command {
  return new Command('studio')
    .description('A web page on this machine to start, watch, compare and judge runs.')
    .option('--port <n>', 'where it listens; 0 for one that is free', wholeNumber(0), 7860)
    .option('--runs <dir>', 'folder of runs; new ones are written into it', RUNS)
    .option('--root <dir>', 'a folder that models, prompts and files of rewards may be chosen from in the page; repeatable (default: the current one)', collect, [])
    .option('--host <address>', 'listen at another address of this machine than 127.0.0.1')
    .option('--allowed-host <name>', 'a name, without port, by which the server may be called beside localhost (repeatable)', collect, [])
    .addHelpText('after', MORE)
    .action(async ({ port, runs, host, allowedHost, root }: Flags) => {
      if (port > 65_535) throw new UsageError(`--port: ${port} is no port; the largest is 65535`);
      const studio = await openStudio({
        port, runs, host, roots: root.length > 0 ? root : ['.'], allowedHosts: [...allowedHost, ...(host === undefined ? [] : [host])],
      });
      if (host !== undefined) process.stderr.write('warning: the studio can be reached from outside this machine, unencrypted; whoever has the token can start and stop runs\n');
      process.stdout.write(`The studio of ${runs}/ is at\n\n  ${studio.url}\n\nCtrl-C ends it; runs go on.\n`);
      await new Promise<void>((resolve) => {
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
      });
      await studio.close();
    });
}

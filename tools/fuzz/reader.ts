/** @file The process in which files are read: it may hang or die, and is then started anew. */
import { TARGETS } from './targets.js';

export interface Task {
  readonly target: string;
  readonly folder: string;
  readonly file: string;
}

export interface Answer {
  /** Read; refused with a sentence; or anything else. */
  readonly outcome: 'read' | 'refused' | 'fault';
  readonly message: string;
  /** Of the processor, user and system together. */
  readonly seconds: number;
  readonly peakBytes: number;
}

/** Errors whose message is all that a user sees (exit code 2). */
const SENTENCES = new Set(['FormatError', 'ConfigError', 'DatasetError', 'OnnxError', 'RewardSpecError', 'SamplingError', 'UsageError']);
/** Characters of a stack that tell where. */
const STACK = 4000;

async function answer({ target: name, folder, file }: Task): Promise<Answer> {
  const target = TARGETS.find((t) => t.name === name)!;
  const before = process.cpuUsage();
  let [outcome, message]: [Answer['outcome'], string] = ['read', ''];
  try {
    await target.read(folder, file);
  } catch (error) {
    const known = error instanceof Error && SENTENCES.has(error.name);
    outcome = known ? 'refused' : 'fault';
    message = error instanceof Error ? (known ? error.message : (error.stack ?? error.message)).slice(0, STACK) : String(error);
  }
  const { user, system } = process.cpuUsage(before);
  return { outcome, message, seconds: (user + system) / 1e6, peakBytes: process.resourceUsage().maxRSS * 1024 };
}

process.on('message', (task: Task) => void answer(task).then((a) => process.send!(a)));
process.send!('ready');

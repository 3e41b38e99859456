/** @file Writing a LoRA, reading it back through its own names, and telling the result. */
import { extname } from 'node:path';
import { Option } from 'commander';
import { LORA_DIALECTS, asWritten, readLora, writeLora } from '../../formats/lora-file.js';
import type { LoraDialect, LoraReading } from '../../formats/lora-file.js';
import type { LoraFile } from '../../formats/lora.js';
import type { StoredType } from '../../graph/dtype.js';
import { compareLoras } from '../../sampling/read-back.js';
import { UsageError } from '../arguments.js';
import { inLine } from '../output.js';
import { checkTarget, staged } from '../staged.js';

const STORED_TYPES: readonly StoredType[] = ['float32', 'float16', 'bfloat16'];

/** `--to`. */
export const dialectOption = (): Option =>
  new Option('--to <dialect>', 'dialect: kohya suits A1111, ComfyUI and InvokeAI; diffusers-old versions before 0.22')
    .choices(LORA_DIALECTS);

/** `--dtype`. */
export const dtypeOption = (description: string): Option =>
  new Option('--dtype <type>', description).choices(STORED_TYPES);

/** The dialect to write where none is asked for: ComfyUI's own names can only be read, and it reads kohya's. */
export const sameDialect = ({ dialect }: LoraReading): LoraDialect => (dialect === 'comfy' ? 'kohya' : dialect);

/** What a LoRA of a dialect is on disk. */
const exportKind = (dialect: LoraDialect): 'file' | 'folder' => (dialect === 'peft' ? 'folder' : 'file');

/**
 * Checks what a LoRA is to be written to, before anything is read.
 *
 * @param dialect undefined where the file that is read will tell
 * @throws UsageError for a name that says another kind of file; as `checkTarget`
 */
export async function checkExport(out: string, dialect?: LoraDialect): Promise<void> {
  const named = extname(out).toLowerCase();
  const kind = dialect ? exportKind(dialect) : named === '.safetensors' ? 'file' : 'folder';
  await checkTarget(out, kind);
  if (kind === 'file' && named !== '.safetensors') {
    const stem = named === '' ? out : out.slice(0, -named.length);
    throw new UsageError(`--out ${out}: a LoRA of the dialect ${dialect} is a safetensors file; name it ${stem}.safetensors`);
  }
  if (kind === 'folder' && /^\.(safetensors|ckpt|pt|pth|bin)$/.test(named)) {
    throw new UsageError(`--out ${out}: a LoRA of the dialect ${dialect ?? 'peft'} is a folder; name it ${out.slice(0, -named.length)}`);
  }
}

export interface Exported {
  readonly out: string;
  readonly dialect: LoraDialect;
  readonly layers: number;
  /** Largest difference between what was meant and what was read back. */
  readonly difference: number;
}

/**
 * Writes a LoRA in place only if it reads back as `wanted`.
 *
 * @param stored what is written: `wanted`, perhaps in another number format
 * @throws OverflowError, ReadBackError; UsageError if `out` cannot be written
 */
export async function exportLora(
  out: string, wanted: LoraFile, stored: LoraFile, dialect: LoraDialect,
): Promise<Exported> {
  compareLoras(wanted, asWritten(stored, dialect)); // infinity could not be read back
  const difference = await staged(out, exportKind(dialect), async (path) => {
    await writeLora(path, stored, dialect);
    return compareLoras(wanted, (await readLora(path)).lora);
  });
  return { out, dialect, layers: stored.layers.size, difference };
}

/** Prints the result of an export. */
export function tellExport(exported: Exported, json: boolean): void {
  const { out, dialect, layers, difference } = exported;
  const largest = Number(difference.toPrecision(2));
  process.stdout.write(json
    ? `${JSON.stringify(exported)}\n`
    : `${inLine(out)}\n${dialect}, ${layers} layers; read back, the largest difference is ${largest}\n`);
}

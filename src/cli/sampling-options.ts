/** @file What commands that make images share: the size of images, and names for their metadata. */
import { basename, extname } from 'node:path';
import { InvalidArgumentError } from 'commander';

/** Reads `WIDTHxHEIGHT`, or one number for a square. */
export function parseSize(text: string): [width: number, height: number] {
  const [, width, height = width] = /^(\d{1,5})(?:x(\d{1,5}))?$/i.exec(text.trim()) ?? [];
  if (!width) throw new InvalidArgumentError(`"${text}" is no size; give 512 or 768x512 (width x height).`);
  return [Number(width), Number(height)];
}

/** A file's or model's name without folder and ending. */
export function stem(path: string): string {
  const name = basename(path);
  return /^\.(safetensors|ckpt|pt|pth|bin)$/i.test(extname(name)) ? name.slice(0, -extname(name).length) : name;
}

/** @file Options whose value is a path: marked in their schema, so that all of them can be found. */
import { z } from 'zod';
import { bareSchema } from '../formats/schema.js';

/** An option that names a file or folder. */
export const pathText = (what = ''): z.ZodString => z.string().min(1).meta({ description: what, path: true });

/** `value` with every path that `schema` marks in it replaced. */
export function mapPaths(schema: z.ZodType, value: unknown, replace: (path: string) => string): unknown {
  const bare = bareSchema(schema);
  if (typeof value === 'string') return bare.meta()?.['path'] === true ? replace(value) : value;
  if (!(bare instanceof z.ZodObject) || typeof value !== 'object' || value === null) return value;
  const shape = bare.shape as Readonly<Record<string, z.ZodType>>;
  return Object.fromEntries(Object.entries(value).map(([key, v]) =>
    [key, Object.hasOwn(shape, key) ? mapPaths(shape[key]!, v, replace) : v]));
}

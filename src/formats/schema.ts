/** @file Looking into schemas. */
import type { z } from 'zod';

/** Without what makes a schema optional or nullable, or gives it a default. */
export function bareSchema(schema: z.ZodType): z.ZodType {
  const inner = (schema.def as { innerType?: z.ZodType }).innerType;
  return inner ? bareSchema(inner) : schema;
}

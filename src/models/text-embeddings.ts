/** @file Embeddings of Textual Inversion put into a pipeline: rows of its token tables, and words of its tokenizers. */
import type { EmbeddingFile } from '../formats/embedding-file.js';
import { FormatError, shown } from '../formats/errors.js';
import { fromFloat32, toFloat32 } from '../graph/dtype.js';
import type { HostTensor, StoredType } from '../graph/dtype.js';
import { plainToken } from './added-tokens.js';
import type { Pipeline, TextEncoder } from './pipeline.js';

/** An embedding and what to call it in messages. */
export interface EmbeddingUse extends EmbeddingFile {
  readonly where: string;
}

/**
 * The pipeline with words for embeddings. A word is found in any case and place, as diffusers has it, and stands for
 * all its vectors.
 *
 * @throws FormatError for an embedding of another width than the text encoders', or a word that is taken
 */
export function withEmbeddings(pipeline: Pipeline, uses: readonly EmbeddingUse[]): Pipeline {
  let result = pipeline;
  for (const use of uses) {
    for (const [name, vectors] of use.parts) result = withVectors(result, encoderFor(result, use, name, vectors), use, vectors);
  }
  return result;
}

/** CLIP's table of tokens; other encoders take no embeddings. */
const tableOf = ({ name }: TextEncoder): string => `${name}.text_model.embeddings.token_embedding.weight`;

/** The encoder of that name if the vectors fit; else another that they fit. */
function encoderFor({ textEncoders, source, weights }: Pipeline, { where, token }: EmbeddingUse, name: string, { shape }: HostTensor): TextEncoder {
  const fits = textEncoders.filter((encoder) => encoder.config.hidden_size === shape[1] && weights.has(tableOf(encoder)));
  const encoder = fits.find((e) => e.name === name) ?? fits[0];
  if (encoder) return encoder;
  const widths = textEncoders.map(({ config }) => config.hidden_size).join(' and ');
  throw new FormatError(where, `the embedding "${shown(token)}" has vectors of ${shape[1]} numbers, the text encoder of ${source} takes ${widths}`,
    'Take one that was made for this family of models.');
}

function withVectors(pipeline: Pipeline, encoder: TextEncoder, { where, token }: EmbeddingUse, vectors: HostTensor): Pipeline {
  const { tokenizer, config } = encoder;
  const known = tokenizer.knows(token);
  if (token.trim() === '' || known === 'added') {
    throw new FormatError(where, `the embedding's word "${shown(token)}" is taken already`, 'Give another word: FILE:word.');
  }
  const [count, width] = vectors.shape as [number, number];
  const key = tableOf(encoder);
  const stored = pipeline.weights.get(key)!;
  const table = toFloat32(stored);
  const rows = new Float32Array(table.length + count * width);
  rows.set(table);
  rows.set(toFloat32(vectors), table.length);
  const ids = Array.from({ length: count }, (_, i) => config.vocab_size + i);
  const larger: TextEncoder = {
    ...encoder, config: { ...config, vocab_size: config.vocab_size + count },
    // What is part of common words is a word of its own only.
    tokenizer: tokenizer.withTokens([{ ...plainToken(token, ids), singleWord: known === 'vocabulary' }]),
  };
  return {
    ...pipeline,
    textEncoders: pipeline.textEncoders.map((e) => (e === encoder ? larger : e)),
    weights: new Map([...pipeline.weights, [key, fromFloat32(rows, [config.vocab_size + count, width], stored.dtype as StoredType)]]),
  };
}

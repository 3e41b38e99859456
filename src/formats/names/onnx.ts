/** @file What Optimum and transformers.js call the inputs and outputs of the ONNX files that they write. */

/** The embeddings of a CLIP model. */
export const CLIP_EMBEDDINGS = ['image_embeds', 'text_embeds'] as const;

/** Part of the name of the input that tells tokens from padding. */
export const MASK = 'mask';

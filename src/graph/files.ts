/** @file The graph layer's public face where there are files. */
export * from './index.js';
export { importOnnx } from './onnx/import-file.js';

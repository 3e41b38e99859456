/** @file The graph layer's public face where there are files. */
export * from '../../graph/index.js';
export { importOnnx } from './import-file.js';

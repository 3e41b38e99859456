/** @file Tensor data that a model keeps outside its own bytes. */
export interface ExternalData {
  /** `length` bytes from `offset` on of the file `location` in the model's folder, in a buffer of their own. */
  read(location: string, offset: number, length: number): Uint8Array;
  close(): void;
}

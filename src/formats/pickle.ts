/**
 * @file A restricted machine for Python pickles (protocols 2 to 5, pickletools.py): it builds dictionaries, lists,
 * strings and numbers, knows no class but those it is given, and runs no code of the file.
 */
import { FormatError, shown } from './errors.js';

/** A function of the file's that the reader stands in for. */
export type Callable = (args: readonly unknown[]) => unknown;

export interface PickleHooks {
  /** The stand-in for `module.name`: a Callable, or a value; undefined if the name is not known. */
  global(name: string): unknown;
  /** The object behind a persistent id (a tensor's storage). */
  persistent(id: unknown): unknown;
}

const MARK = Symbol('mark');

/**
 * Runs a pickle and returns the object it builds: Map for dict, array for list and tuple, number, boolean, string,
 * null, and whatever the hooks return. Anything else is refused by name. `where` names the file in errors.
 */
export function unpickle(bytes: Buffer, where: string, hooks: PickleHooks): unknown {
  const stack: unknown[] = [];
  const memo = new Map<number, unknown>();
  let at = 0;

  const fail = (problem: string, remedy = 'Download or export the file again.') =>
    new FormatError(where, `${problem} (pickle byte ${at})`, remedy);
  const take = (length: number) => {
    if (at + length > bytes.length) throw fail('its pickle ends too early');
    at += length;
    return at - length;
  };
  const text = (length: number) => bytes.toString('utf8', take(length), at);
  const line = () => {
    const end = bytes.indexOf(10, at);
    if (end < 0) throw fail('its pickle ends too early');
    const value = bytes.toString('utf8', at, end);
    at = end + 1;
    return value;
  };
  const pop = () => {
    if (stack.length === 0 || stack.at(-1) === MARK) throw fail('its pickle takes from an empty stack');
    return stack.pop();
  };
  const top = () => {
    if (stack.length === 0 || stack.at(-1) === MARK) throw fail('its pickle looks at an empty stack');
    return stack.at(-1);
  };
  const popMark = () => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) throw fail('its pickle has no mark');
    return stack.splice(mark).slice(1);
  };
  const popTuple = (length: number) => {
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.unshift(pop());
    return items;
  };
  const setItems = (items: readonly unknown[]) => {
    const dict = top();
    if (!(dict instanceof Map) || items.length % 2) throw fail('its pickle sets items of what is not a dictionary');
    for (let i = 0; i < items.length; i += 2) {
      if (typeof items[i] === 'object' && items[i] !== null) throw fail('its pickle has a key that is not plain');
      dict.set(items[i], items[i + 1]);
    }
  };
  const append = (items: readonly unknown[]) => {
    const list = top();
    if (!Array.isArray(list)) throw fail('its pickle appends to what is not a list');
    for (const item of items) list.push(item);
  };
  const global = (name: string) => {
    const value = hooks.global(name);
    if (value === undefined) {
      throw fail(`refers to the Python object "${shown(name)}", which is not loaded`,
        'Only tensors are read from PyTorch files: save its state_dict as safetensors.');
    }
    return value;
  };
  const recall = (index: number) => {
    if (!memo.has(index)) throw fail('its pickle recalls what it never stored');
    return memo.get(index);
  };

  for (;;) {
    const opcode = bytes[take(1)]!;
    switch (opcode) {
      case 0x80: if (bytes[take(1)]! > 5) throw fail('is a pickle of an unknown protocol'); break; // PROTO
      case 0x95: take(8); break; // FRAME
      case 0x2e: return pop(); // STOP
      case 0x28: stack.push(MARK); break;
      case 0x30: pop(); break; // POP
      case 0x4e: stack.push(null); break;
      case 0x88: stack.push(true); break;
      case 0x89: stack.push(false); break;
      case 0x4a: stack.push(bytes.readInt32LE(take(4))); break; // BININT
      case 0x4b: stack.push(bytes[take(1)]); break; // BININT1
      case 0x4d: stack.push(bytes.readUInt16LE(take(2))); break; // BININT2
      case 0x8a: stack.push(long(bytes.subarray(take(bytes[take(1)]!), at))); break; // LONG1
      case 0x47: stack.push(bytes.readDoubleBE(take(8))); break; // BINFLOAT
      case 0x58: stack.push(text(bytes.readUInt32LE(take(4)))); break; // BINUNICODE
      case 0x8c: stack.push(text(bytes[take(1)]!)); break; // SHORT_BINUNICODE
      case 0x7d: stack.push(new Map()); break; // EMPTY_DICT
      case 0x5d: case 0x29: stack.push([]); break; // EMPTY_LIST, EMPTY_TUPLE
      case 0x85: case 0x86: case 0x87: stack.push(popTuple(opcode - 0x84)); break; // TUPLE1, 2, 3
      case 0x74: stack.push(popMark()); break; // TUPLE
      case 0x61: append([pop()]); break; // APPEND
      case 0x65: append(popMark()); break; // APPENDS
      case 0x73: setItems(popTuple(2)); break; // SETITEM
      case 0x75: setItems(popMark()); break; // SETITEMS
      case 0x71: memo.set(bytes[take(1)]!, top()); break; // BINPUT
      case 0x72: memo.set(bytes.readUInt32LE(take(4)), top()); break; // LONG_BINPUT
      case 0x94: memo.set(memo.size, top()); break; // MEMOIZE
      case 0x68: stack.push(recall(bytes[take(1)]!)); break; // BINGET
      case 0x6a: stack.push(recall(bytes.readUInt32LE(take(4)))); break; // LONG_BINGET
      case 0x63: stack.push(global(`${line()}.${line()}`)); break; // GLOBAL
      case 0x93: stack.push(global(popTuple(2).join('.'))); break; // STACK_GLOBAL
      case 0x51: stack.push(hooks.persistent(pop())); break; // BINPERSID
      case 0x52: { // REDUCE: calls one of the stand-ins
        const args = pop();
        const callable = pop();
        if (typeof callable !== 'function' || !Array.isArray(args)) throw fail('its pickle calls what is no function');
        stack.push((callable as Callable)(args));
        break;
      }
      case 0x62: { // BUILD: attributes of an object; a state dict's are its `_metadata`, which nothing needs
        pop();
        if (!(top() instanceof Map)) throw fail('its pickle sets attributes of what is not a dictionary');
        break;
      }
      default:
        throw fail(`uses the pickle operation 0x${opcode.toString(16)}, which is not allowed`,
          'Only tensors are read from PyTorch files: save its state_dict as safetensors.');
    }
  }
}

/** Little-endian two's complement of up to 255 bytes; beyond 2^53 it is inexact and fails every later check. */
function long(bytes: Uint8Array): number {
  let value = 0;
  for (let i = bytes.length - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
  return bytes.length > 0 && bytes.at(-1)! & 0x80 ? value - 256 ** bytes.length : value;
}

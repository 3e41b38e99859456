/**
 * @file A restricted machine for Python pickles (protocols 0 to 5, pickletools.py): it builds dictionaries, lists,
 * strings and numbers, knows no class but those it is given, passes over all other objects unread, and runs no code of
 * the file. Its work is bounded by the pickle's length and the limits here.
 */
import { FormatError, shown } from './errors.js';

/** A function of the file's that the reader stands in for. */
export type Callable = (args: readonly unknown[]) => unknown;

/** In the place of a Python object that is not read. */
export class Skipped {
  /** @param name of its class, or of the function that would make it */
  constructor(readonly name: string) {}
}

export interface PickleHooks {
  /** The stand-in for `module.name`: a Callable, or a value; undefined for what is to be passed over. */
  global(name: string): unknown;
  /** The object behind a persistent id (a tensor's storage). */
  persistent(id: unknown): unknown;
}

/** A published checkpoint with its optimiser's state has a hundred thousand operations. */
const MOST_OPERATIONS = 2_000_000;
/** Dictionaries, lists and tuples that are made: two hundred bytes each, for one byte of the file. */
const MOST_OBJECTS = 500_000;

const LONGEST_NAME = 1024;

const MARK = Symbol('mark');

/**
 * Runs the pickle that begins at byte `start` and returns what it builds, and where it ends. A dict becomes a Map, a
 * list or tuple an array; beside them there are numbers, booleans, strings, null, what the hooks return, and Skipped.
 * `where` names the file in errors.
 */
export function unpickle(
  bytes: Buffer, where: string, hooks: PickleHooks, start = 0,
): { value: unknown; end: number } {
  const stack: unknown[] = [];
  const memo = new Map<number, unknown>();
  let at = start;
  let objects = 0;

  const fail = (problem: string, remedy = 'Download or export the file again.') =>
    new FormatError(where, `${problem} (pickle byte ${at})`, remedy);
  const take = (length: number) => {
    if (length < 0 || at + length > bytes.length) throw fail('its pickle ends too early');
    at += length;
    return at - length;
  };
  const text = (length: number) => bytes.toString('utf8', take(length), at);
  const skip = (length: number) => {
    take(length);
    return new Skipped('bytes');
  };
  const length8 = () => Number(bytes.readBigUInt64LE(take(8)));
  const line = () => {
    const end = bytes.indexOf(10, at);
    if (end < 0) throw fail('its pickle ends too early');
    const value = bytes.toString('utf8', at, end);
    at = end + 1;
    return value;
  };
  const made = <T extends object>(object: T): T => {
    if (++objects > MOST_OBJECTS) throw fail(`its pickle makes more than ${MOST_OBJECTS} objects`, HOSTILE);
    return object;
  };
  const top = () => {
    if (stack.length === 0 || stack.at(-1) === MARK) throw fail('its pickle takes from an empty stack');
    return stack.at(-1);
  };
  const pop = () => {
    const value = top();
    stack.pop();
    return value;
  };
  const popMark = () => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) throw fail('its pickle has no mark');
    return stack.splice(mark).slice(1);
  };
  const popTuple = (length: number) => {
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.unshift(pop());
    return made(items);
  };
  const setItems = (dict: unknown, items: readonly unknown[]) => {
    if (!(dict instanceof Map || dict instanceof Skipped) || items.length % 2) {
      throw fail('its pickle sets items of what is not a dictionary');
    }
    if (dict instanceof Skipped) return;
    for (let i = 0; i < items.length; i += 2) {
      // What has a class or a tuple for its key is no named tensor.
      if (typeof items[i] !== 'object' || items[i] === null) dict.set(items[i], items[i + 1]);
    }
  };
  const append = (items: readonly unknown[]) => {
    const list = top();
    if (!(Array.isArray(list) || list instanceof Skipped)) throw fail('its pickle appends to what is not a list');
    if (Array.isArray(list)) for (const item of items) list.push(item);
  };
  const global = (module: unknown, name: unknown) => {
    if (typeof module !== 'string' || typeof name !== 'string') throw fail('its pickle names an object by no text');
    // A long text recalled a hundred thousand times is not to be joined each time.
    if (module.length + name.length > LONGEST_NAME) throw fail('its pickle names an object by an endless text');
    const path = `${module}.${name}`;
    return hooks.global(path) ?? new Skipped(shown(path));
  };
  /** What comes of calling a stand-in; the objects that are passed over are not made. */
  const call = (callable: unknown, args: unknown) => {
    if (callable instanceof Skipped) return callable;
    if (typeof callable !== 'function' || !Array.isArray(args)) throw fail('its pickle calls what is no function');
    return made(Object((callable as Callable)(args)) as object);
  };
  const recall = (index: number) => {
    if (!memo.has(index)) throw fail('its pickle recalls what it never stored');
    return memo.get(index);
  };
  const dictionary = (items: readonly unknown[]) => {
    const dict = made(new Map<unknown, unknown>());
    setItems(dict, items);
    return dict;
  };

  for (let operations = 1; ; operations++) {
    if (operations > MOST_OPERATIONS) throw fail(`its pickle has more than ${MOST_OPERATIONS} operations`, HOSTILE);
    const opcode = bytes[take(1)]!;
    switch (opcode) {
      case 0x80: if (bytes[take(1)]! > 5) throw fail('is a pickle of an unknown protocol'); break; // PROTO
      case 0x95: take(8); break; // FRAME
      case 0x2e: return { value: pop(), end: at }; // STOP
      case 0x28: stack.push(MARK); break;
      case 0x30: if (stack.at(-1) === MARK) stack.pop(); else pop(); break; // POP
      case 0x31: popMark(); break; // POP_MARK
      case 0x32: stack.push(top()); break; // DUP
      case 0x4e: stack.push(null); break;
      case 0x88: stack.push(true); break;
      case 0x89: stack.push(false); break;
      case 0x49: stack.push(int(line())); break; // INT
      case 0x4c: stack.push(Number(line().replace(/L$/, ''))); break; // LONG
      case 0x46: stack.push(Number(line())); break; // FLOAT
      case 0x4a: stack.push(bytes.readInt32LE(take(4))); break; // BININT
      case 0x4b: stack.push(bytes[take(1)]); break; // BININT1
      case 0x4d: stack.push(bytes.readUInt16LE(take(2))); break; // BININT2
      case 0x8a: stack.push(long(bytes.subarray(take(bytes[take(1)]!), at))); break; // LONG1
      case 0x8b: stack.push(long(bytes.subarray(take(bytes.readInt32LE(take(4))), at))); break; // LONG4
      case 0x47: stack.push(bytes.readDoubleBE(take(8))); break; // BINFLOAT
      case 0x53: stack.push(quoted(line())); break; // STRING
      case 0x56: stack.push(line()); break; // UNICODE
      case 0x54: stack.push(text(bytes.readInt32LE(take(4)))); break; // BINSTRING
      case 0x58: stack.push(text(bytes.readUInt32LE(take(4)))); break; // BINUNICODE
      case 0x55: case 0x8c: stack.push(text(bytes[take(1)]!)); break; // SHORT_BINSTRING, SHORT_BINUNICODE
      case 0x8d: stack.push(text(length8())); break; // BINUNICODE8
      case 0x43: stack.push(skip(bytes[take(1)]!)); break; // SHORT_BINBYTES
      case 0x42: stack.push(skip(bytes.readUInt32LE(take(4)))); break; // BINBYTES
      case 0x8e: case 0x96: stack.push(skip(length8())); break; // BINBYTES8, BYTEARRAY8
      case 0x7d: stack.push(made(new Map())); break; // EMPTY_DICT
      case 0x64: stack.push(dictionary(popMark())); break; // DICT
      case 0x5d: case 0x29: stack.push(made([])); break; // EMPTY_LIST, EMPTY_TUPLE
      case 0x85: case 0x86: case 0x87: stack.push(popTuple(opcode - 0x84)); break; // TUPLE1, 2, 3
      case 0x74: case 0x6c: stack.push(made(popMark())); break; // TUPLE, LIST
      case 0x8f: stack.push(made(new Skipped('set'))); break; // EMPTY_SET
      case 0x91: popMark(); stack.push(made(new Skipped('frozenset'))); break; // FROZENSET
      case 0x61: append([pop()]); break; // APPEND
      case 0x65: case 0x90: append(popMark()); break; // APPENDS, ADDITEMS
      case 0x73: { // SETITEM
        const items = [pop(), pop()].reverse();
        setItems(top(), items);
        break;
      }
      case 0x75: { // SETITEMS
        const items = popMark();
        setItems(top(), items);
        break;
      }
      case 0x70: memo.set(Number(line()), top()); break; // PUT
      case 0x71: memo.set(bytes[take(1)]!, top()); break; // BINPUT
      case 0x72: memo.set(bytes.readUInt32LE(take(4)), top()); break; // LONG_BINPUT
      case 0x94: memo.set(memo.size, top()); break; // MEMOIZE
      case 0x67: stack.push(recall(Number(line()))); break; // GET
      case 0x68: stack.push(recall(bytes[take(1)]!)); break; // BINGET
      case 0x6a: stack.push(recall(bytes.readUInt32LE(take(4)))); break; // LONG_BINGET
      case 0x63: stack.push(global(line(), line())); break; // GLOBAL
      case 0x93: { // STACK_GLOBAL
        const name = pop();
        stack.push(global(pop(), name));
        break;
      }
      case 0x50: stack.push(hooks.persistent(line())); break; // PERSID
      case 0x51: stack.push(hooks.persistent(pop())); break; // BINPERSID
      case 0x52: case 0x81: { // REDUCE, NEWOBJ
        const args = pop();
        stack.push(call(pop(), args));
        break;
      }
      case 0x92: { // NEWOBJ_EX, with keyword arguments
        pop();
        const args = pop();
        stack.push(call(pop(), args));
        break;
      }
      case 0x69: { // INST
        const maker = global(line(), line());
        stack.push(call(maker, popMark()));
        break;
      }
      case 0x6f: { // OBJ
        const [maker, ...args] = popMark();
        stack.push(call(maker, args));
        break;
      }
      case 0x62: { // BUILD: attributes of an object; a state dict's are its `_metadata`, which nothing needs
        pop();
        if (typeof top() !== 'object') throw fail('its pickle sets attributes of what is no object');
        break;
      }
      default:
        throw fail(`uses the pickle operation 0x${opcode.toString(16)}, which is not allowed`,
          'Only tensors are read from PyTorch files: save its state_dict as safetensors.');
    }
  }
}

const HOSTILE = 'No image model needs as much: it is another kind of file, or hostile.';

/** An INT, which before protocol 2 is also how booleans are written. */
function int(line: string): number | boolean {
  return line === '01' ? true : line === '00' ? false : Number(line);
}

/** A text between quotes, as protocol 0 has it; its escapes are left, as no tensor's name has any. */
function quoted(line: string): string {
  return line.trimEnd().slice(1, -1);
}

/** Little-endian two's complement; beyond 2^53 it is inexact and fails every later check. */
function long(bytes: Uint8Array): number {
  let value = 0;
  for (let i = bytes.length - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
  return bytes.length > 0 && bytes.at(-1)! & 0x80 ? value - 256 ** bytes.length : value;
}

// Values that are no numbers in stored weights, NaN and infinity: found while bytes pass by on their way into memory. A stored
// format has them where all bits of the exponent are set (e4m3: all bits but the sign), so adding one to the lowest of these bits,
// all others being zero, carries into the sign's place and no further.

/** A stored format: bytes of an element, and the bits that are all set in what is no number. */
interface Format {
  bytes: number;
  exponent: number;
}

const formats: Readonly<Record<string, Format>> = {
  F8_E4M3: { bytes: 1, exponent: 0x7f },
  BF16: { bytes: 2, exponent: 0x7f80 },
  F16: { bytes: 2, exponent: 0x7c00 },
  F32: { bytes: 4, exponent: 0x7f800000 },
  // Exponents in bytes have no sign, and NaN only.
  F8_E8M0: { bytes: 1, exponent: 0xff },
  U8: { bytes: 1, exponent: 0xff },
};
const formatOf = (dtype: string): Format | undefined => (Object.hasOwn(formats, dtype) ? formats[dtype] : undefined);

/** Of all elements of a 32-bit word: the bits of the exponent, the lowest of each, and where a carry out of it shows. */
export interface Mask {
  exponent: number;
  one: number;
  carry: number;
}

/** The mask of a format whose elements have a sign, for the carry to show in. */
export function maskOf(dtype: string): Mask | undefined {
  const format = formatOf(dtype);
  if (!format) return undefined;
  const { bytes, exponent } = format;
  const sign = 2 ** (8 * bytes - 1);
  if (exponent >= sign) return undefined;
  const repeats: Readonly<Record<number, number>> = { 1: 0x01010101, 2: 0x00010001, 4: 1 };
  const repeated = (bits: number): number => bits * repeats[bytes];
  return { exponent: repeated(exponent), one: repeated(exponent & -exponent), carry: repeated(sign) };
}

/** Bytes the kernel takes at a time. */
const STEP = 64;

/** One function in bytes, the text in comments: WebAssembly reads sixteen bytes at once where JavaScript would be slower than the disk. */
const sum = [
  0x00,
  0x61,
  0x73,
  0x6d,
  0x01,
  0x00,
  0x00,
  0x00, // magic, version
  0x01,
  0x0a,
  0x01,
  0x60,
  0x05,
  0x7f,
  0x7f,
  0x7f,
  0x7f,
  0x7f,
  0x01,
  0x7f, // type: i32 x 5 -> i32
  0x02,
  0x12,
  0x01,
  0x03,
  0x65,
  0x6e,
  0x76,
  0x06,
  0x6d,
  0x65,
  0x6d,
  0x6f,
  0x72,
  0x79,
  0x02,
  0x03,
  0x00,
  0x80,
  0x80,
  0x04, // import env.memory, shared, up to 65536 pages
  0x03,
  0x02,
  0x01,
  0x00, // function 0 has type 0
  0x07,
  0x07,
  0x01,
  0x03,
  0x61,
  0x6e,
  0x79,
  0x00,
  0x00, // export "any"
];
const quarter = (offset: number): number[] => [
  0x20,
  0x00,
  0xfd,
  0x00,
  0x04,
  offset, // local.get $at, v128.load offset
  0x20,
  0x05,
  0xfd,
  0x4e, // local.get $exponents, v128.and
  0x20,
  0x06,
  0xfd,
  0xae,
  0x01, // local.get $ones, i32x4.add
  0xfd,
  0x50, // v128.or
];
const body = [
  0x01,
  0x03,
  0x7b, // locals: three v128, 5 $exponents, 6 $ones, 7 $found
  0x20,
  0x02,
  0xfd,
  0x11,
  0x21,
  0x05, // $exponents = i32x4.splat $exponent
  0x20,
  0x03,
  0xfd,
  0x11,
  0x21,
  0x06, // $ones = i32x4.splat $one
  0x03,
  0x40, // loop
  0x20,
  0x07,
  ...[0, 16, 32, 48].flatMap(quarter),
  0x21,
  0x07, // $found |= (x & $exponents) + $ones, four times
  0x20,
  0x00,
  0x41,
  0xc0,
  0x00,
  0x6a,
  0x22,
  0x00, // $at += 64
  0x20,
  0x01,
  0x49,
  0x0d,
  0x00,
  0x0b, // br_if $at < $end, end
  0x20,
  0x07,
  0x20,
  0x04,
  0xfd,
  0x11,
  0xfd,
  0x4e,
  0xfd,
  0x53,
  0x0b, // v128.any_true ($found & splat $carry), end
];
const code = [0x01, ...leb(body.length), ...body];
const bytes = Uint8Array.from([...sum, 0x0a, ...leb(code.length), ...code]);

function leb(n: number): number[] {
  return n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...leb(n >>> 7)];
}

type Any = (at: number, end: number, exponent: number, one: number, carry: number) => number;
let module: WebAssembly.Module | undefined;

/** Looks for values that are no numbers in one memory. */
export class Finite {
  private readonly memory: WebAssembly.Memory;
  private readonly any: Any;

  constructor(memory: WebAssembly.Memory) {
    module ??= new WebAssembly.Module(bytes);
    this.memory = memory;
    this.any = new WebAssembly.Instance(module, { env: { memory } }).exports.any as Any;
  }

  /** The first element of `count` bytes at `at` that is no number, as stored in `dtype`; undefined when all are numbers. */
  firstBad(at: number, count: number, dtype: string): number | undefined {
    const view = new Uint8Array(this.memory.buffer, at, count);
    const m = maskOf(dtype);
    const whole = count - (count % STEP);
    if (!m || whole === 0 || this.any(at, at + whole, m.exponent, m.one, m.carry)) return firstBad(view, dtype);
    const found = firstBad(view.subarray(whole), dtype);
    return found === undefined ? undefined : found + whole / formats[dtype].bytes;
  }
}

/** The same over bytes anywhere, one element after another. */
export function firstBad(data: Uint8Array, dtype: string): number | undefined {
  const format = formatOf(dtype);
  if (!format) return undefined;
  const { bytes, exponent } = format;
  for (let i = 0; i + bytes <= data.length; i += bytes) {
    let bits = 0;
    for (let b = 0; b < bytes; b++) bits |= data[i + b] << (8 * b);
    if ((bits & exponent) === exponent) return i / bytes;
  }
  return undefined;
}

/** A value of a weight that is no number: its element, counted from the first of the tensor. */
export class NotFinite extends Error {
  readonly element: number;
  constructor(element: number) {
    super(`element ${element} is not a number`);
    this.element = element;
  }
}

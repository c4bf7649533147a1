// What a compiled kernel needs of a GPU, read from the cubin itself (an ELF file): registers and stack of a thread, shared memory that its
// code has of its own. The attributes are those that the CUDA binary utilities print (EIATTR_REGCOUNT, EIATTR_FRAME_SIZE).

/** Of one kernel of a cubin. */
export interface CubinResources {
  /** 32-bit registers of a thread. */
  registers: number;
  /** Bytes of local memory of a thread: registers that were spilled, and arrays that cannot stay in registers. */
  stackBytes: number;
  /** Bytes of shared memory that the code declares; what a launch asks for comes on top. */
  sharedBytes: number;
}

const REGCOUNT = 0x2f;
const FRAME_SIZE = 0x11;
const SYSTEM_SHARED = 1024;
/** An attribute whose value is as long as the two bytes after it say. */
const SIZED = 0x04;

interface Section {
  name: string;
  type: number;
  offset: number;
  size: number;
  link: number;
}

/** The resources of a kernel, or undefined where the file is no cubin, or says nothing of that kernel. */
export function cubinResources(bytes: Uint8Array, entry: string): CubinResources | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== 2) return undefined;
    const sections = sectionsOf(view, bytes);
    const info = sections.find((s) => s.name === ".nv.info");
    const symbols = sections.find((s) => s.type === 2);
    if (!info || !symbols) return undefined;
    const found = new Map<number, number>();
    for (let at = info.offset; at + 4 <= info.offset + info.size;) {
      const [form, attribute, size] = [view.getUint8(at), view.getUint8(at + 1), view.getUint16(at + 2, true)];
      if (form === SIZED && size >= 8 && symbolAt(view, bytes, sections, symbols, view.getUint32(at + 4, true)) === entry)
        found.set(attribute, view.getUint32(at + 8, true));
      at += 4 + (form === SIZED ? size : 0);
    }
    const registers = found.get(REGCOUNT);
    if (registers === undefined) return undefined;
    // The section begins with what the system takes of every block.
    const shared = sections.find((s) => s.name === `.nv.shared.${entry}`)?.size ?? 0;
    return { registers, stackBytes: found.get(FRAME_SIZE) ?? 0, sharedBytes: Math.max(0, shared - SYSTEM_SHARED) };
  } catch (e) {
    if (e instanceof RangeError) return undefined;
    throw e;
  }
}

function sectionsOf(view: DataView, bytes: Uint8Array): Section[] {
  const [at, each, count, names] = [
    Number(view.getBigUint64(0x28, true)),
    view.getUint16(0x3a, true),
    view.getUint16(0x3c, true),
    view.getUint16(0x3e, true),
  ];
  const raw = Array.from({ length: count }, (_, i) => {
    const h = at + i * each;
    return {
      nameAt: view.getUint32(h, true),
      type: view.getUint32(h + 4, true),
      offset: Number(view.getBigUint64(h + 0x18, true)),
      size: Number(view.getBigUint64(h + 0x20, true)),
      link: view.getUint32(h + 0x28, true),
    };
  });
  return raw.map(({ nameAt, ...s }) => ({ ...s, name: textAt(bytes, raw[names].offset + nameAt) }));
}

const SYMBOL_BYTES = 24;

const symbolAt = (view: DataView, bytes: Uint8Array, sections: readonly Section[], symbols: Section, index: number): string =>
  textAt(bytes, sections[symbols.link].offset + view.getUint32(symbols.offset + index * SYMBOL_BYTES, true));

function textAt(bytes: Uint8Array, at: number): string {
  const end = bytes.indexOf(0, at);
  return Buffer.from(bytes.subarray(at, end < 0 ? undefined : end)).toString("latin1");
}

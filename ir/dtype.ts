// Element types: how a value of the graph lies in memory, and what its scales serve. Bytes, widths and blocks are asked of this table.

/** What a buffer holds, with the bytes of an element. A scaled tensor is two buffers: codes, and scales in f32. */
export const storageBytes = Object.freeze({ f32: 4, bf16: 2, i32: 4, e4m3: 1 });
/** A dtype as memory has it. */
export type Storage = keyof typeof storageBytes;

/** The elements of the last two axes that share a scale, as rows x columns. */
export type Block = "1x128" | "128x128";

interface Format {
  storage: Storage;
  /** Scaled formats only: what one scale serves, and how scales are stored. */
  scaled?: { block: Block; rows: number; columns: number; storage: Storage };
}

const table = {
  f32: { storage: "f32" },
  bf16: { storage: "bf16" },
  i32: { storage: "i32" },
  "e4m3/1x128": { storage: "e4m3", scaled: { block: "1x128", rows: 1, columns: 128, storage: "f32" } },
  "e4m3/128x128": { storage: "e4m3", scaled: { block: "128x128", rows: 128, columns: 128, storage: "f32" } },
} as const satisfies Record<string, Format>;

/** Element types. "e4m3/1x128": codes with a scale per 128 columns; "e4m3/128x128": per block of the last two axes. */
export type DType = keyof typeof table;

/** Every dtype: how it is stored, its bytes, its blocks of scales. The one table. */
export const formats: Readonly<Record<DType, Format>> = Object.freeze(table);
/** The names of all dtypes. */
export const dtypes: readonly DType[] = Object.freeze(Object.keys(table) as DType[]);

/** Whether a word is the name of a dtype. */
export const isDType = (text: string): text is DType => Object.hasOwn(table, text);
/** Whether a value has scales. A dtype variable, which stands for a dtype in the pattern of a rule, has none. */
export const isScaled = (d: string): boolean => isDType(d) && formats[d].scaled !== undefined;

/** The format of a buffer and of the blocks its scales serve, if it has any. */
export const dtypeOf = (storage: Storage, block?: Block): DType => (storage === "e4m3" ? `e4m3/${block ?? "1x128"}` : storage);

/** Bytes of one element, scales included. */
export function bytesPerElement(d: DType): number {
  const { storage, scaled } = formats[d];
  return storageBytes[storage] + (scaled ? storageBytes[scaled.storage] / (scaled.rows * scaled.columns) : 0);
}

/** Shape of the scales of a scaled tensor: one for every block that is begun. `parts` says how many a size makes. */
export const scaleShape = <D>(shape: readonly D[], block: Block, parts: (size: D, of: number) => D): D[] => {
  const { rows, columns } = formats[`e4m3/${block}`].scaled!;
  const of = (axis: number): number => (axis === shape.length - 1 ? columns : axis === shape.length - 2 ? rows : 1);
  return shape.map((d, axis) => (of(axis) === 1 ? d : parts(d, of(axis))));
};

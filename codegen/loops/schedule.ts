// How a processor runs a tile program: lanes of its vectors, and the blocks of products. A record of plain numbers, which is part of a
// kernel's problem; what is fastest for a processor is in scheduleOf.

/** The schedule of a kernel of loops. */
export interface LoopSchedule {
  form: "loops";
  /** Lanes of an f32 vector. */
  lanes: number;
  /** From this many rows of a on, a product packs both sides as f32 in panels; fewer stream the rows of b by. */
  packFrom: number;
  /** Rows of a and of b that a packed block multiplies: so many sums stay in registers. rowsB is a power of two. */
  rowsA: number;
  rowsB: number;
  /** Columns of a panel. */
  panel: number;
  /** Rows of b that stream by at once, far apart. */
  streams: number;
  /** Bytes by which their lines are asked for ahead; 0 leaves it to the processor. */
  prefetch: number;
  /** Of a product whose lanes are columns: rows of a, and vectors of columns, that a block multiplies. */
  mixRows: number;
  mixVectors: number;
  /** Products of bf16 weights by registers of tiles: each activation in two bf16 parts. */
  matrix?: true;
}

/** What a schedule is made for. */
export interface Registers {
  lanes: number;
  /** Vector registers. */
  registers: number;
  matrix?: true;
}

/** The schedule for a processor. Sums, the rows that wait and the row that streams by fit its registers. */
export function scheduleOf({ lanes, registers, matrix }: Registers): LoopSchedule {
  const many = registers >= 32;
  return {
    form: "loops",
    lanes,
    packFrom: 4,
    rowsA: 3,
    rowsB: many ? 8 : 4,
    panel: 512,
    streams: 8,
    prefetch: 0,
    mixRows: many ? 6 : 4,
    mixVectors: many ? 4 : 2,
    ...(matrix ? { matrix } : {}),
  };
}

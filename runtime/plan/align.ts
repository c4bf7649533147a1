// Every block begins at a multiple of this: a cache line, and more than any load needs.
export const ALIGN = 64;
export const align = (n: number): number => Math.ceil(n / ALIGN) * ALIGN;

// How rows spread over experts, as estimates of grouped products have it: each row's expert is drawn, all alike.

/** Experts that have rows, of r rows. */
export const visited = (experts: number, r: number): number => experts * (1 - Math.exp(-r / experts));

/** Tiles of so many rows, none of which crosses experts, that r rows make. */
export function rowTiles(experts: number, rows: number, r: number): number {
  const each = r / experts;
  // Rows of an expert are about normal around `each`: a further tile by the chance that it needs one.
  const spread = Math.max(Math.sqrt(each * (1 - 1 / experts)), 0.1);
  const far = Math.ceil((each + 5 * spread + 1) / rows);
  let tiles = visited(experts, r);
  for (let t = 1; t <= far; t++) tiles += experts * above((t * rows + 0.5 - each) / spread);
  return tiles;
}

/** The chance that a normal variable exceeds z, by the logistic curve: within 0.01. */
const above = (z: number): number => 1 / (1 + Math.exp(1.702 * z));

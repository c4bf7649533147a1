// Numbers as a person reads them: three digits, a unit.

const scaled = (n: number, units: readonly string[], step: number): string => {
  let i = 0;
  let v = n;
  while (Math.abs(v) >= step * 0.9995 && i < units.length - 1) {
    v /= step;
    i++;
  }
  return `${three(v)} ${units[i]}`;
};

/** Three digits where there are as many. */
function three(v: number): string {
  if (v === 0) return "0";
  const a = Math.abs(v);
  return a >= 100 ? v.toFixed(0) : a >= 10 ? v.toFixed(1) : a >= 0.01 ? v.toFixed(2) : v.toPrecision(2);
}

export const bytes = (n: number): string => (n < 1000 ? `${Math.round(n)} B` : scaled(n, ["B", "kB", "MB", "GB", "TB"], 1000));
export const flops = (n: number): string =>
  n === 0 ? "0" : scaled(n, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"], 1000);
export function time(us: number): string {
  if (us === 0) return "0";
  if (us >= 1000) return `${three(us / 1000)} ms`;
  return us >= 0.095 ? `${three(us)} µs` : `${Math.max(1, Math.round(us * 1000))} ns`;
}
export const percent = (share: number): string =>
  share >= 0.9995 ? "100 %" : share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : `${(100 * share).toFixed(1)} %`;
/** A time beside the floor under it. */
export function ratio(us: number, floor: number): string {
  if (floor <= 0) return "";
  const times = us / floor;
  return `${times < 999.5 ? times.toPrecision(3) : count(Number(times.toPrecision(3)))} × floor`;
}
export const count = (n: number): string => (Number.isInteger(n) ? n.toLocaleString("en") : three(n));

export const plural = (n: number, word: string, many = `${word}s`): string => `${count(n)} ${n === 1 ? word : many}`;

/** 3, 4, 5, 60 as "3–5, 60". */
export function ranges(list: readonly number[]): string {
  const out: string[] = [];
  for (let i = 0; i < list.length;) {
    let j = i;
    while (j + 1 < list.length && list[j + 1] === list[j] + 1) j++;
    out.push(i === j ? `${list[i]}` : `${list[i]}–${list[j]}`);
    i = j + 1;
  }
  return out.join(", ");
}

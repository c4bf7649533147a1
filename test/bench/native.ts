// Kernels in C beside WebAssembly: the printed model for both in one process, on the same number of threads, in turns.
import type { Session } from "../../runtime/index.ts";
import { load } from "../../runtime/index.ts";
import { THREADS, artifactOf, openPrinted, over, printed, weightsOf, type Row } from "./cases.ts";
import { cReadLoop } from "./ceilings.ts";
import { time, turns } from "./measure.ts";

const PROMPT = 512;
const ids = (count: number, vocab: number): number[] => Array.from({ length: count }, (_, i) => (i * 37 + 11) % vocab);

/** Decode in weight bytes a second, over WebAssembly and over a C loop that reads the weights; prefill in tokens a second. */
export async function native(rounds: number): Promise<Row[]> {
  const wasm = await openPrinted("synthetic:0");
  const c = await load(artifactOf(printed, "c"), { weights: "synthetic:0", threads: THREADS });
  try {
    const { from, bytes, read } = weightsOf(wasm);
    const reading = await cReadLoop();
    const vocab = wasm.manifest.model.vocab;
    const rows: Row[] = [];
    for (const context of [64, 1024]) {
      const [a, b] = [wasm, c].map((m) => m.session({ maxTokens: context + 256 }));
      for (const s of [a, b]) await s.prefill([ids(context, vocab)]);
      let next = 0;
      const step = async (s: Session): Promise<number> => read / (await time(() => s.decode([next++ % vocab]))) / 1e6;
      const rates = await turns(rounds, {
        c: () => step(b),
        wasm: () => step(a),
        read: async () => (reading ? bytes / reading(wasm.device.bytes(from, bytes), THREADS) / 1e6 : NaN),
      });
      a.close();
      b.close();
      const name = `decode in C, context ${context}`;
      rows.push(over(name, "GB/s", rates.c, rates.wasm, "WebAssembly", 1));
      if (reading) rows.push(over(name, "GB/s", rates.c, rates.read, "C read", context === 64 ? 0.92 : undefined));
    }
    const prompt = ids(PROMPT, vocab);
    const prefill = async (m: typeof wasm | typeof c): Promise<number> => {
      const s = m.session({ maxTokens: PROMPT });
      const ms = await time(() => s.prefill([prompt]));
      s.close();
      return (PROMPT / ms) * 1000;
    };
    const rates = await turns(Math.min(rounds, 5), { c: () => prefill(c), wasm: () => prefill(wasm) });
    rows.push(over(`prefill of ${PROMPT} in C`, "tokens/s", rates.c, rates.wasm, "WebAssembly", 3));
    return rows;
  } finally {
    await wasm.close();
    await c.close();
  }
}

// DSC5030: what does not fit, in bytes that a person reads.
import { place, thrown } from "../../ir/diagnostic.ts";

/** "1.30 GiB", "12.0 MiB", "96 bytes". */
export function bytes(n: number): string {
  if (n >= 2 ** 30) return `${(n / 2 ** 30).toFixed(2)} GiB`;
  if (n >= 2 ** 20) return `${(n / 2 ** 20).toFixed(1)} MiB`;
  return n >= 1024 ? `${(n / 1024).toFixed(1)} KiB` : `${n} bytes`;
}

/** Bytes that are not there; `parts` are what takes or has taken them. */
interface Lack {
  what: string;
  needed: number;
  available: number;
  parts?: readonly string[] | undefined;
  help?: string | undefined;
}

/** A memory reserves the addresses it may ever grow to; a limit on them refuses it whatever is free. */
interface LackOfAddresses {
  /** WebAssembly's word. */
  addresses: string;
}

export const noMemory = thrown<Lack | LackOfAddresses>("DSC5030", {
  name: "it does not fit the memory",
  means: "Bytes needed are compared with bytes there before anything is loaded; the notes are the parts.",
  example: "dsc run examples/deepseek-r1 --weights synthetic:0 --ids 1 --max-new 1",
  fix: "Fewer positions or sequences need less cache; --layers N keeps the first layers; dsc plan shows what a model takes.",
  at: (d) => [place("addresses" in d ? "the model's memory" : d.what)],
  short: (d) =>
    "addresses" in d
      ? {
          title: "the system does not give the addresses of a memory of 4 GiB",
          notes: [
            `WebAssembly says: ${d.addresses}`,
            "about 8 GiB of addresses are reserved for each; only what is used takes memory",
          ],
          help: "raise the limit on addresses: ulimit -v unlimited",
        }
      : {
          title: `${d.what} needs ${bytes(d.needed)}, and ${bytes(d.available)} are available`,
          notes: d.parts ?? [],
          help:
            d.help ??
            "close other programs, ask for fewer positions (maxTokens), or compile a smaller model (--layers, --shrink)",
        },
});

/** What to do about a model that is too large as it is, on one device. */
export const fewerLayers = (fit: number, layers: number, elsewhere = ""): string =>
  `${fit > 0 ? `of its ${layers} layers the first ${fit} fit (--layers ${fit})` : "not one of its layers fits"}; ` +
  `--shrink makes every width small${elsewhere}; dsc plan says what takes the bytes`;

// Sizes as C over the kernel's dims, which are int64_t there.
import type { Size } from "../../ir/size.ts";

/** "(m + 64 - 1) / 64 * 132": divisions round as `evaluate` does, for sizes are not negative. */
export function cSize(size: Size): string {
  if (typeof size !== "object") return String(size);
  const parts = size.of.map(cSize);
  const bracketed = parts.map((p, i) => (typeof size.of[i] === "object" ? `(${p})` : p));
  switch (size.op) {
    case "add":
      return parts.join(" + ");
    case "mul":
      return bracketed.join(" * ");
    case "div":
      return bracketed.join(" / ");
    case "ceildiv":
      return `(${parts[0]} + ${bracketed[1]} - 1) / ${bracketed[1]}`;
    case "max":
    case "min":
      return parts.reduce((a, b) => `dsc_${size.op}(${a}, ${b})`);
  }
}

// What the runtime asks of a library beside its kernels (runtime/devices/native/library.ts), as TIR.
import { binary, cast, imm, int64, load, select, variable, type TirExpr, type TirFunction } from "./ir.ts";

const double = (name: string): TirExpr => cast("int64", variable(name, "float64"));

const word = (name: string): TirExpr => variable(name, "uint32");
const found: TirExpr = { kind: "register", name: "found", dtype: "uint32" };

/** Whether some element of so many 32-bit words has all bits of its exponent set: adding the lowest of them carries. */
const anySpecial: TirFunction = {
  name: "dsc_any_special",
  params: [
    ...["at", "words"].map((name) => ({ name, dtype: "float64" })),
    ...["exponent", "one", "carry"].map((name) => ({ name, dtype: "uint32" })),
    { name: "special", dtype: "int64" },
  ],
  body: [
    { kind: "buffer", buffer: { name: "p", dtype: "uint32", extent: double("words") }, address: double("at") },
    { kind: "register", name: "found", value: imm(0, "uint32") },
    {
      kind: "for",
      name: "i",
      from: int64(0),
      to: double("words"),
      step: 1,
      body: [
        {
          kind: "set",
          name: "found",
          value: binary(
            "bitwise_or",
            found,
            binary("Add", binary("bitwise_and", load("p", variable("i", "int64"), "uint32"), word("exponent")), word("one")),
          ),
        },
      ],
    },
    { kind: "buffer", buffer: { name: "answer", dtype: "float64", extent: int64(2) }, address: variable("special", "int64") },
    {
      kind: "store",
      to: "answer",
      at: int64(0),
      value: select(
        binary("EQ", binary("bitwise_and", found, word("carry")), imm(0, "uint32")),
        imm(0, "float64"),
        imm(1, "float64"),
      ),
    },
  ],
};

/** The functions. */
export const services: readonly TirFunction[] = [anySpecial];

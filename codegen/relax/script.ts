// The file around a module of Relax: which tensors its weights are, how they are read, and how TVM builds and runs it.

/** A parameter that is given once: read from tensors of the checkpoint, one for each leading index, or numbers of the config. */
export type ScriptWeight = { name: string; shape: readonly number[] } & (
  | { tensors: readonly { tensor: string; scales?: string }[] }
  | { values: readonly number[] }
);

interface Parts {
  name: string;
  version: string;
  layers: readonly number[];
  /** Lanes of a cached row. */
  width: number;
  weights: readonly ScriptWeight[];
  /** Bindings of the function, in order, and the variables that it gives. */
  lines: readonly string[];
  results: readonly string[];
}

/** How a file begins that dsc wrote. */
export const HEAD = '"""Written by dsc export relax';

export function scriptOf(p: Parts): string {
  const { layers, width, weights, lines, results } = p;
  const params = [
    'input_ids: R.Tensor((1, "rows"), "int64")',
    ...layers.map((n) => `past_${n}: R.Tensor((1, "cached", ${width}), "float32")`),
    ...weights.map((w) => `${w.name}: R.Tensor((${w.shape.join(", ")},), "float32")`),
  ];
  return `${headOf(p)}
@I.ir_module
class Module:
    @R.function
    def main(
${params.map((s) => `        ${s},\n`).join("")}    ):
        rows = T.int64()
        cached = T.int64()
        R.func_attr({"num_input": ${layers.length + 1}})
        with R.dataflow():
${lines.map((l) => `            ${l}\n`).join("")}            out = (${results.join(", ")},)
            R.output(out)
        return out


LAYERS = ${JSON.stringify([...layers])}
WIDTH = ${width}
# Of every weight, in the order in which main takes them: name, shape, tensors of the checkpoint with those of their block scales or None.
WEIGHTS = [
${weights.map(weightText).join("")}]

${READING}`;
}

const pyText = (s: string): string => JSON.stringify(s);

function weightText(w: ScriptWeight): string {
  const shape = `(${w.shape.join(", ")},)`;
  if ("values" in w) return `    (${pyText(w.name)}, ${shape}, np.array(${JSON.stringify(w.values)}, "float32")),\n`;
  const of = ({ tensor, scales }: { tensor: string; scales?: string }): string =>
    `(${pyText(tensor)}, ${scales === undefined ? "None" : pyText(scales)})`;
  return `    (${pyText(w.name)}, ${shape}, [${w.tensors.map(of).join(", ")}]),\n`;
}

const headOf = ({ name, version }: Parts): string => `${HEAD} (dsc ${version}): ${name} as a module of Relax, TVM 0.27.

main(input_ids [1, T] int64, past_N [1, S, r + d] of every layer N, weights) gives a tuple: logits [1, T, V], then
present_N [1, S + T, r + d], which is past_N of the next call. S may be 0; positions follow from it. Everything is computed in float32.

    python model.py CHECKPOINT                      builds it for this CPU and runs a prompt
    python model.py CHECKPOINT --ids 1,2,3 --max-new 8 -o model.so --target '{"kind": "llvm", "mcpu": "native"}'
"""
import argparse
import json
import struct
from pathlib import Path

import numpy as np
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

`;

const READING = `# e4m3 codes as numbers: sign, four bits of exponent, three of mantissa; NaN is all ones.
def e4m3(code):
    sign, exponent, mantissa = -1.0 if code & 128 else 1.0, code >> 3 & 15, (code & 7) / 8
    if code & 127 == 127:
        return np.nan
    return sign * (mantissa * 2.0**-6 if exponent == 0 else (1 + mantissa) * 2.0 ** (exponent - 7))


E4M3 = np.array([e4m3(code) for code in range(256)], "float32")
BLOCK = 128


class Checkpoint:
    """Tensors of a folder of safetensors files, as float32."""

    def __init__(self, folder):
        self.at = {}
        for file in sorted(Path(folder).glob("*.safetensors")):
            with open(file, "rb") as f:
                size = struct.unpack("<Q", f.read(8))[0]
                header = json.loads(f.read(size))
            for name, of in header.items():
                if name != "__metadata__":
                    self.at[name] = (file, 8 + size, of)

    def tensor(self, name):
        if name not in self.at:
            raise SystemExit(f"the checkpoint has no tensor {name}")
        file, begin, of = self.at[name]
        start, end = of["data_offsets"]
        raw = np.fromfile(file, np.uint8, end - start, offset=begin + start)
        read = {
            "F32": lambda: raw.view(np.float32),
            "F16": lambda: raw.view(np.float16).astype(np.float32),
            "BF16": lambda: (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32),
            "F8_E4M3": lambda: E4M3[raw],
        }
        return read[of["dtype"]]().reshape(of["shape"])

    def matrix(self, name, scales):
        w = self.tensor(name)
        if scales is None:
            return w
        by = np.repeat(np.repeat(self.tensor(scales), BLOCK, 0), BLOCK, 1)
        return w * by[: w.shape[0], : w.shape[1]]


def weights(folder):
    """What main takes behind its inputs, in order."""
    checkpoint = Checkpoint(folder)
    out = []
    for _, shape, of in WEIGHTS:
        data = of if isinstance(of, np.ndarray) else np.stack([checkpoint.matrix(*t) for t in of])
        out.append(tvm.runtime.tensor(np.ascontiguousarray(data.reshape(shape), dtype="float32")))
    return out


def build(target="llvm"):
    """The executable that TVM's own pipeline makes."""
    return tvm.compile(Module, target=target)


class Model:
    """The module in TVM's virtual machine, with the caches of one sequence."""

    def __init__(self, executable, folder):
        self.main = relax.VirtualMachine(executable, tvm.cpu())["main"]
        self.weights = weights(folder)
        self.forget()

    def forget(self):
        self.past = [tvm.runtime.tensor(np.zeros((1, 0, WIDTH), "float32")) for _ in LAYERS]

    def rows(self, ids):
        """Logits of new rows, [T, V]."""
        logits, *self.past = self.main(tvm.runtime.tensor(np.array([ids], "int64")), *self.past, *self.weights)
        return logits.numpy()[0]


def main():
    words = argparse.ArgumentParser(description="Builds the module and runs it.")
    words.add_argument("checkpoint", help="the folder of the weights")
    words.add_argument("--ids", default="1,2,3", help="ids of a prompt")
    words.add_argument("--max-new", type=int, default=8)
    words.add_argument("--target", default="llvm", help="a target of TVM, or its JSON")
    words.add_argument("-o", "--out", help="where to put the library")
    given = words.parse_args()
    executable = build(json.loads(given.target) if given.target.startswith("{") else given.target)
    if given.out:
        executable.export_library(given.out)
    model = Model(executable, given.checkpoint)
    row = model.rows([int(i) for i in given.ids.split(",")])[-1]
    ids = []
    for _ in range(given.max_new):
        ids.append(int(row.argmax()))
        row = model.rows(ids[-1:])[-1]
    print(*ids)


if __name__ == "__main__":
    main()
`;

// What Python runs to interpret Triton kernels on the processor: jobs.json in its folder names texts, buffers and sizes, and buffers are
// overwritten with what the kernels leave.

/** The script, for TRITON_INTERPRET=1. */
export const interpreter = `
import importlib.util, json, sys
import numpy as np, torch
import triton.language as tl
from triton.runtime import interpreter

# The interpreter keeps bf16 as bits and would multiply those: widen the operands of a product first.
plain_dot = interpreter.InterpreterBuilder.create_dot
def create_dot(self, a, b, d, *rest):
    def wide(h):
        if h.dtype.scalar != tl.bfloat16: return h
        return interpreter.TensorHandle((h.data.astype(np.uint32) << 16).view(np.float32), tl.float32)
    return plain_dot(self, wide(a), wide(b), d, *rest)
interpreter.InterpreterBuilder.create_dot = create_dot

types = {"f32": torch.float32, "bf16": torch.bfloat16, "e4m3": torch.uint8, "i32": torch.int32}
for job in json.load(open("jobs.json")):
    spec = importlib.util.spec_from_file_location(job["name"], job["source"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    buffers = [torch.from_numpy(np.fromfile(b["file"], np.uint8)).view(types[b["dtype"]]) for b in job["buffers"]]
    try:
        getattr(module, job["name"])[(job["grid"],)](*buffers, *job["dims"])
    except Exception as e:
        raise RuntimeError("in " + job["name"]) from e
    for b, t in zip(job["buffers"], buffers):
        t.view(torch.uint8).numpy().tofile(b["file"])
`;

"""Calls kernels of an exported library over PyTorch tensors, once as they are and once in a CUDA graph; prints a JSON line for each.

A case gives for every tensor the bytes that it has before, and for what is written the bytes that it has after dsc's own launch.
"""

import json
import sys

import torch
import tvm_ffi

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "e4m3": torch.uint8, "i32": torch.int32}
# So many kernels are called with wrong arguments and in a graph as well.
CLOSELY = 8


def storage_of(arg):
    with open(arg["file"] + ".in", "rb") as f:
        return torch.frombuffer(bytearray(f.read()), dtype=TYPES[arg["dtype"]]).cuda()


def tensor_of(arg):
    return storage_of(arg).as_strided(arg["shape"], arg["strides"])


def bytes_of(tensor, arg):
    whole = torch.as_strided(tensor, (1 + sum((n - 1) * s for n, s in zip(arg["shape"], arg["strides"])),), (1,))
    return whole.contiguous().view(torch.uint8).cpu().numpy().tobytes()


def same(outs):
    return all(bytes_of(t, a) == open(a["file"] + ".out", "rb").read() for t, a in outs)


def refused(call, values):
    """What is not right in the errors that wrong arguments raise: nothing, if all are."""
    at = next(i for i, v in enumerate(values) if isinstance(v, torch.Tensor))

    def with_first(v):
        return values[:at] + [v] + values[at + 1 :]

    wrong = {
        "TypeError": [values[:-1], with_first(None), with_first(values[at].to(torch.float64))],
        "ValueError": [with_first(values[at].cpu())],
    }
    if isinstance(values[-1], int):
        wrong["ValueError"] += [values[:-1] + [-1], values[:-1] + [values[-1] + 1]]
    for kind, lists in wrong.items():
        for args in lists:
            try:
                call(*args)
                return f"nothing was raised where {kind} was due"
            except Exception as e:
                if type(e).__name__ != kind:
                    return f"{type(e).__name__} where {kind} was due: {e}"
    return ""


def captured(call, values, outs):
    """Whether a graph's replay gives the same bits; the stream is PyTorch's own."""
    for tensor, _ in outs:
        tensor.zero_()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        call(*values)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            call(*values)
        for tensor, _ in outs:
            tensor.zero_()
        graph.replay()
    torch.cuda.synchronize()
    return same(outs)


def main():
    with open(sys.argv[1]) as f:
        job = json.load(f)
    module = tvm_ffi.load_module(job["library"])
    for n, case in enumerate(job["cases"]):
        call = module.get_function(case["name"])
        values = [tensor_of(a) if "file" in a else a["size"] for a in case["args"]]
        outs = [(v, a) for v, a in zip(values, case["args"]) if a.get("written")]
        call(*values)
        torch.cuda.synchronize()
        row = {"kernel": case["name"], "equal": same(outs)}
        row["ok"] = row["equal"]
        if n < CLOSELY:
            row["wrong"] = refused(call, values)
            row["in_graph"] = captured(call, values, outs)
            row["ok"] = row["equal"] and row["wrong"] == "" and row["in_graph"]
        print(json.dumps(row), flush=True)


main()

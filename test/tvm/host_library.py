"""Calls kernels of an exported library over numpy arrays; prints a JSON line for each: whether results have the expected bits.

A case gives for every tensor its bytes before, and for what is written its bytes after dsc's own launch.
"""

import json
import sys

import numpy
import tvm_ffi

# numpy has no bf16 and no e4m3: their codes are whole numbers.
TYPES = {"f32": numpy.float32, "bf16": numpy.uint16, "e4m3": numpy.uint8, "i32": numpy.int32}


def tensor_of(arg):
    data = numpy.fromfile(arg["file"] + ".in", dtype=TYPES[arg["dtype"]])
    strides = [s * data.itemsize for s in arg["strides"]]
    return data, numpy.lib.stride_tricks.as_strided(data, arg["shape"], strides)


def said(call, args):
    try:
        call(*args)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return "nothing"


def main():
    with open(sys.argv[1]) as f:
        job = json.load(f)
    module = tvm_ffi.load_module(job["library"])
    for case in job["cases"]:
        call = module.get_function(case["name"])
        whole, values = zip(*[tensor_of(a) if "file" in a else (None, a["size"]) for a in case["args"]])
        values = list(values)
        call(*values)
        outs = [(v, a) for v, a in zip(whole, case["args"]) if a.get("written")]
        equal = all(v.tobytes() == open(a["file"] + ".out", "rb").read() for v, a in outs)
        wrong = [
            said(call, values[:-1]),
            said(call, [values[0].astype(numpy.float64)] + values[1:]),
            said(call, ["text"] + values[1:]),
        ]
        print(json.dumps({"kernel": case["name"], "equal": equal, "wrong": wrong, "doc": module.get_function_doc(case["name"])}))


main()

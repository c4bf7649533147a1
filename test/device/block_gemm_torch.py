"""cuBLASLt's block-scaled FP8 product, through torch, on the shapes of block-gemm.ts: JSON with microseconds per launch.

Cold weights (rotated through more memory than L2 holds), graph replay, medians: what block-gemm.ts does, for a comparison in the
same window on the same card. usage: block_gemm_torch.py OUT.json ['{"shapes": [[n, k], ...], "rows": [m, ...]}']
"""
import json
import statistics
import sys

import torch

ROWS = [1, 8, 16, 64, 128, 256, 1024, 4096]
SHAPES = [(2112, 7168), (24576, 1536), (32768, 512), (7168, 16384), (4096, 7168), (7168, 2048), (36864, 7168), (7168, 18432)]
if len(sys.argv) > 2:
    ROWS, SHAPES = (json.loads(sys.argv[2])[key] for key in ("rows", "shapes"))


def layouts(scale):
    """A matrix of scales as torch's versions have wanted it: both orders, both meanings, rows padded to four or not."""
    padded = torch.nn.functional.pad(scale, (0, -scale.shape[1] % 4))
    for s in (scale, padded, scale.t().contiguous(), torch.nn.functional.pad(scale.t().contiguous(), (0, -scale.shape[0] % 4))):
        yield s
        yield s.t()
        yield s.t().contiguous()


def calls(x, w, sx, sw):
    """Every way to call, until one is right."""
    from torch.nn import functional as f
    kinds = getattr(f, "ScalingType", None)
    for b in layouts(sw):
        for a in (sx.t().contiguous().t(), sx):
            if kinds is not None and hasattr(f, "scaled_mm"):
                yield lambda x=x, w=w, a=a, b=b: f.scaled_mm(x, w.t(), a, kinds.BlockWise1x128, b, kinds.BlockWise128x128, output_dtype=torch.bfloat16)
            yield lambda x=x, w=w, a=a, b=b: torch._scaled_mm(x, w.t(), scale_a=a, scale_b=b, out_dtype=torch.bfloat16)


def dequantized(v, s, rows):
    return v.float() * s.repeat_interleave(rows, 0)[: v.shape[0]].repeat_interleave(128, 1)[:, : v.shape[1]]


def right_call(x, ws, sx, sw):
    """Index of the first way that gives the product."""
    want = dequantized(x, sx, 1) @ dequantized(ws[0], sw, 128).t()
    last = ValueError("no way to call scaled_mm gives the product")
    for i, call in enumerate(calls(x, ws[0], sx, sw)):
        try:
            got = call()
        except Exception as e:  # a layout this version does not take
            last = e
            continue
        if float((got.float() - want).norm() / want.norm()) < 6e-3:
            return i
    raise last


def time(fs):
    launches = max(len(fs), 6)
    for f in fs:
        f()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(launches):
            fs[i % len(fs)]()
    times = []
    for _ in range(11):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1000 / launches)
    return statistics.median(times[2:])


def main():
    torch.manual_seed(0)
    rows = []
    for n, k in SHAPES:
        ws = [torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn) for _ in range(int(130e6 // (n * k)) + 2)]
        which = None  # the way to call depends on the shape of the weights only
        sw = (torch.rand(-(-n // 128), -(-k // 128), device="cuda") + 0.5) / 64
        for m in ROWS:
            x = torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn)
            sx = (torch.rand(m, -(-k // 128), device="cuda") + 0.5) / 64
            row = {"n": n, "k": k, "m": m}
            try:
                if which is None:
                    which = right_call(x, ws, sx, sw)
                row["us"] = time([list(calls(x, w, sx, sw))[which] for w in ws])
            except Exception as e:
                row["error"] = str(e)[:160]
            rows.append(row)
            print(row, flush=True)
            json.dump({"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "rows": rows}, open(sys.argv[1], "w"), indent=1)


main()

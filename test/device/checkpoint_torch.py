"""A synthetic checkpoint on disk, its values made by torch on the card: what `dsc weights` writes, tens of gigabytes in seconds.

write(folder, config, tensors, seed) takes the tensors as dsc lists them (name, shape, dtype in safetensors' words, FP8 scales
behind their weights) and writes config.json, shards of SHARD bytes and their index. usage alone: checkpoint_torch.py JOB.json with
folder, config, tensors, seed.
"""
import json
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))

import torch

import synthetic

SHARD = 4 << 30
SIZE = {"BF16": 2, "F32": 4, "F8_E4M3": 1}
SCALES = "_scale_inv"
WRITERS = 8
REAL = ("routed_scaling_factor", "attention_dropout")


def elements(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def shards(tensors):
    """Tensors in order, cut where a file would be larger than SHARD."""
    out, size = [[]], 0
    for t in tensors:
        n = elements(t["shape"]) * SIZE[t["dtype"]]
        if out[-1] and size + n > SHARD:
            out.append([])
            size = 0
        out[-1].append(t)
        size += n
    return out


class Maker:
    """Bytes of tensors, made on the device."""

    def __init__(self, tensors, seed, device, ue8m0):
        self.shapes = {t["name"]: t["shape"] for t in tensors}
        self.seed, self.device, self.ue8m0 = seed, device, ue8m0
        steps = synthetic.np.arange(-32768, 32768, dtype=synthetic.np.float64) / 128.0
        self.codes = torch.from_numpy(synthetic.np_to_e4m3(steps)).to(device)

    def of(self, t):
        name, shape, dtype = t["name"], t["shape"], t["dtype"]
        if name.endswith(SCALES):
            weight = name.removesuffix(SCALES)
            return torch.from_numpy(synthetic.np_fp8_scale(self.seed, weight, self.shapes[weight], (128, 128), self.ue8m0)).contiguous()
        if dtype == "F8_E4M3":
            n = elements(shape)
            out = torch.empty(n, dtype=torch.uint8, device=self.device)
            for s in range(0, n, 1 << 25):
                c = min(1 << 25, n - s)
                out[s : s + c] = self.codes[synthetic.torch_s16(self.seed, name, c, self.device, s) + 32768]
            return out
        return synthetic.torch_tensor(self.seed, name, shape, torch.float32 if dtype == "F32" else torch.bfloat16, self.device)


def write_shard(path, tensors, maker, pool):
    header, at = {}, 0
    for t in tensors:
        n = elements(t["shape"]) * SIZE[t["dtype"]]
        header[t["name"]] = {"dtype": t["dtype"], "shape": t["shape"], "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    try:
        os.pwrite(fd, struct.pack("<Q", len(text)) + text, 0)
        waiting = []
        for t in tensors:
            data = maker.of(t).flatten().view(torch.uint8).cpu().numpy()
            waiting.append(pool.submit(write_all, fd, data, 8 + len(text) + header[t["name"]]["data_offsets"][0]))
            # So that not all of a shard lies in memory twice.
            if len(waiting) >= 2 * WRITERS:
                waiting.pop(0).result()
        for w in waiting:
            w.result()
    finally:
        os.close(fd)


def write_all(fd, data, at):
    view = memoryview(data)
    while len(view):
        n = os.pwrite(fd, view[: 1 << 28], at)
        view, at = view[n:], at + n


def write(folder, config, tensors, seed, device="cuda"):
    """Bytes written."""
    os.makedirs(folder, exist_ok=True)
    # JavaScript writes 1.0 as 1, and transformers' configs check types.
    config = {k: float(v) if k in REAL else v for k, v in config.items()}
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=1)
    quantised = config.get("quantization_config") or {}
    maker = Maker(tensors, seed, device, quantised.get("scale_fmt") == "ue8m0")
    parts = shards(tensors)
    names = ["model.safetensors"] if len(parts) == 1 else ["model-%05d-of-%05d.safetensors" % (i + 1, len(parts)) for i in range(len(parts))]
    with ThreadPoolExecutor(WRITERS) as pool:
        for name, part in zip(names, parts):
            write_shard(os.path.join(folder, name), part, maker, pool)
    total = sum(elements(t["shape"]) * SIZE[t["dtype"]] for t in tensors)
    if len(parts) > 1:
        where = {t["name"]: name for name, part in zip(names, parts) for t in part}
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {"total_size": total}, "weight_map": where}, f)
    return total


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        job = json.load(f)
    print(write(job["folder"], job["config"], job["tensors"], job["seed"], "cuda" if torch.cuda.is_available() else "cpu"))

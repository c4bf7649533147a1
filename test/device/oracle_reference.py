"""Reference values for every launch: refmodel.py beside the graph of a compiled model, both in float64 on one card.

usage: oracle_reference.py JOB.json OUT_FOLDER
JOB (written by oracle.ts) has the config, the seed of the synthetic weights, the graph after all passes, and calls: batches of a
few sequences through prefill, extend and decode. The graph is evaluated op by op without rounding (oracle_ops.py), and wherever a
value is one that refmodel.py names too (a linear's or a norm's result, routes, cache rows, a layer's result, logits) the two are
compared: so what is written down are refmodel's values. For every node then, from these values as a kernel would read them
(rounded to their dtypes), the result is computed once more in float64: what that node's launches should give.

OUT_FOLDER gets one safetensors file a call, and agreement.json. Keys: FUNCTION|LAYER|VALUE[#SEQUENCE]|PART, PART one of
  t, ts        the value as kernels read it, and its scales
  e, es        what its node should give; low/high: lo, los, hi, his
"""
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "oracle")]

import torch

import refmodel
import synthetic
from oracle_ops import F8, OPS, VIEWS, T, quantised, rounded, typed


# ------------------------------------------------------------------ weights
class Checkpoint(dict):
    """Synthetic tensors by name, made on the card as they are asked for."""

    def __init__(self, config, seed, device):
        super().__init__()
        self.shapes = {name: (shape, dtype) for name, shape, dtype in synthetic.tensor_shapes(config, mtp=True)}
        quantised = config.get("quantization_config") or {}
        self.fp8, self.ue8m0 = bool(quantised), quantised.get("scale_fmt") == "ue8m0"
        self.seed, self.device = seed, device
        steps = synthetic.np.arange(-32768, 32768, dtype=synthetic.np.float64) / 128.0
        self.codes = torch.from_numpy(synthetic.np_to_e4m3(steps)).to(device)

    def get(self, name, otherwise=None):
        if name in self:
            return self[name]
        weight = name.removesuffix("_scale_inv")
        if weight not in self.shapes or weight != name and not (self.fp8 and synthetic.is_fp8_name(weight)):
            return otherwise
        return self[name]

    def __missing__(self, name):
        weight = name.removesuffix("_scale_inv")
        shape, dtype = self.shapes[weight]
        if self.fp8 and synthetic.is_fp8_name(weight):
            self[weight] = self.quantised(weight, shape)
            self[weight + "_scale_inv"] = torch.from_numpy(synthetic.np_fp8_scale(self.seed, weight, shape, (128, 128), self.ue8m0)).to(self.device)
        else:
            self[weight] = synthetic.torch_tensor(self.seed, weight, shape, torch.float32 if dtype == "f32" else torch.bfloat16, self.device)
        return self[name]

    def quantised(self, name, shape, chunk=1 << 25):
        n = shape[0] * shape[1]
        out = torch.empty(n, dtype=torch.uint8, device=self.device)
        for s in range(0, n, chunk):
            c = min(chunk, n - s)
            out[s : s + c] = self.codes[synthetic.torch_s16(self.seed, name, c, self.device, s) + 32768]
        return out.view(F8).reshape(shape)


class Weight:
    """A weight of the graph for one layer: checkpoint tensors where its pieces say, a computed one, or the rope table."""

    def __init__(self, job, name, layer, checkpoint):
        self.name, self.plan, self.layer, self.checkpoint = name, job["weights"][name], layer, checkpoint
        self.source, self.job, self.kept = self.plan["source"], job, None

    @property
    def dtype(self):
        return self.plan["dtype"]

    def pieces(self, index):
        """Tensor names at some leading indices, with the rows and columns each covers."""
        for p in self.source["pieces"]:
            spans = [(a, a + 1) if isinstance(a, int) else (0, self.plan["shape"][i]) if a == "*" else tuple(map(int, a.split(".."))) for i, a in enumerate(p["at"])]
            if all(a <= i < b for i, (a, b) in zip(index, spans)):
                name = p["tensor"].replace("{layer}", str(self.layer))
                for i, at in enumerate(index):
                    name = name.replace("{%d}" % i, str(at))
                yield name, p.get("rows"), p.get("columns")

    def tensor(self, name):
        t = self.checkpoint[name]
        scales = self.checkpoint.get(name + "_scale_inv")
        if scales is None:
            return t.double()
        n, k = t.shape
        # One temporary of full size: blocks of 128 x 128 times their scale.
        out = t.double()
        full = torch.repeat_interleave(scales.double(), 128, 1)[:, :k]
        for r in range(scales.shape[0]):
            out[r * 128 : (r + 1) * 128] *= full[r]
        return out

    def dense(self, local=False, index=None):
        if self.source["kind"] == "computed":
            if self.kept is None:
                f = self.job["funcs"][self.source["by"]]
                stored = next(n["attrs"]["name"] for n in f["nodes"] if n["op"] == "weight")
                self.kept = Weight(self.job, stored, self.layer, self.checkpoint).dense()
            return rounded(self.kept, self.dtype) if local else self.kept
        axes = len(self.source["pieces"][0]["at"])
        if index is None and axes:
            index = ()
        if index is not None and len(index) < axes:
            return torch.stack([self.dense(local, (*index, i)) for i in range(self.plan["shape"][len(index)])])
        found = list(self.pieces(index or ()))
        if len(found) == 1 and found[0][1] is None and found[0][2] is None:
            return self.tensor(found[0][0])
        out = torch.zeros(self.plan["shape"][axes:], dtype=torch.float64, device=self.checkpoint.device)
        for name, rows, columns in found:
            t = self.tensor(name)
            part = out[rows[0] : rows[1]] if rows else out
            (part[:, columns[0] : columns[1]] if columns else part).copy_(t)
        return out

    def rows(self, ids):
        return self.checkpoint[next(self.pieces(()))[0]][ids].double()

    def cos_sin(self, positions, local):
        inverse = torch.tensor(self.source["invFreq"], dtype=torch.float32, device=positions.device)
        angle = (positions.float()[:, None] * inverse).double()
        cos, sin = angle.cos() * self.source["factor"], angle.sin() * self.source["factor"]
        return (rounded(cos, "f32"), rounded(sin, "f32")) if local else (cos, sin)


# ------------------------------------------------------------------ the graph
class Env:
    def __init__(self, starts, lengths, local, device):
        self.starts, self.lengths, self.local = starts, lengths, local
        ends = zip(starts, starts[1:], lengths)
        self.positions = torch.cat([torch.arange(n - (e - s), n, device=device) for s, e, n in ends])


class Enough(Exception):
    """The layers asked for are done."""


class Evaluator:
    def __init__(self, job, checkpoint, sink, taps):
        self.job, self.checkpoint, self.sink, self.taps = job, checkpoint, sink, taps
        self.device, self.weights = checkpoint.device, {}
        self.caches, self.final = {}, None

    def weight(self, name, layer):
        plan = self.job["weights"][name]
        key = name, layer if plan["layers"] else None
        if key not in self.weights:
            self.weights[key] = Weight(self.job, name, layer, self.checkpoint)
        return self.weights[key]

    def call(self, c):
        """An entry, or one function of it, over a batch; caches are kept for the next call."""
        self.layers = c["layers"]
        self.exact = Env(c["starts"], c["lengths"], False, self.device)
        self.local = Env(c["starts"], c["lengths"], True, self.device)
        f = self.job["funcs"][c["entry"]]
        # The extra layer begins from what the main model's call before it gave.
        given = {"ids": T(torch.tensor(c["ids"], device=self.device), "i32"), "hidden": self.final}
        args = [given.get(p["name"]) or T(None, p["type"].get("dtype", "")) for p in f["params"]]
        for r, v in zip(f["results"], self.run(c["entry"], c.get("layer"), args)):
            if r["name"] == "final":
                self.final = v

    def old(self, layer, width):
        rows = self.caches.get(layer)
        return rows or [torch.zeros(0, width, dtype=torch.float64, device=self.device) for _ in self.exact.lengths]

    def run(self, name, layer, args):
        f, values, read = self.job["funcs"][name], {}, {}
        frame = name, layer, values, read
        for p, a in zip(f["params"], args):
            if p["type"]["kind"] == "cache" and layer is not None:
                a = T(None, p["type"]["dtype"], rows=self.old(layer, p["type"]["width"]))
            self.put(frame, p["id"], a)
        for n in f["nodes"]:
            self.node(frame, n)
        out = [values[r["id"]] for r in f["results"]]
        for r, v in zip(f["results"], out):
            if r["type"]["kind"] == "cache" and layer is not None and v.rows is not None:
                self.caches[layer] = v.rows
        self.taps.function(name, layer, f, out)
        return out

    def put(self, frame, id, v, sequence=None):
        name, layer, values, read = frame
        values[id] = v
        read[id] = typed(v)
        self.sink.value(self.key(frame, id, sequence), read[id], "t")

    def key(self, frame, id, sequence=None):
        return f"{frame[0]}|{'' if frame[1] is None else frame[1]}|{id}{'' if sequence is None else f'#{sequence}'}"

    def node(self, frame, n, sequence=None):
        name, layer, values, read = frame
        op, ids = n["op"], [o["id"] for o in n["outs"]]
        if op == "param":
            return
        if op == "weight":
            values[ids[0]] = read[ids[0]] = self.weight(n["attrs"]["name"], layer)
            return
        if op == "call":
            at = n["attrs"]["layer"]
            at = layer if at < 0 else at
            if at not in self.layers:
                raise Enough
            for id, v in zip(ids, self.run(n["attrs"]["func"], at, [values[i] for i in n["ins"]])):
                self.put(frame, id, v)
            return
        if op == "map_sequences":
            return self.sequences(frame, n)
        if op not in OPS:
            raise SystemExit(f"oracle_ops.py does not know {op}: give it an entry")
        exact = OPS[op]({k: values[i] for k, i in zip(n["names"], n["ins"])}, n["attrs"], self.exact)
        exact = list(exact.values()) if isinstance(exact, dict) else [exact]
        if op not in VIEWS:
            local = OPS[op]({k: read[i] for k, i in zip(n["names"], n["ins"])}, n["attrs"], self.local)
            for id, v in zip(ids, local.values() if isinstance(local, dict) else [local]):
                self.sink.value(self.key(frame, id, sequence), v, "e")
            self.taps.node(name, layer, n, [values[i] for i in n["ins"]], exact, sequence)
        for id, v in zip(ids, exact):
            self.put(frame, id, v, sequence)

    def sequences(self, frame, n):
        values, parts = frame[2], []
        for b, length in enumerate(self.exact.lengths):
            at = slice(self.exact.starts[b], self.exact.starts[b + 1])
            for p, i in zip(n["region"]["params"], n["ins"][1:]):
                v = values[i]
                self.put(frame, p, T(v.rows[b] if v.rows is not None else v.data[at], v.dtype), b)
            for inner in n["region"]["nodes"]:
                self.node(frame, inner, b)
            parts.append(values[n["region"]["results"][0]])
        self.put(frame, n["outs"][0]["id"], T(torch.cat([p.data for p in parts]), parts[0].dtype))


# ------------------------------------------------------------------ refmodel, and where the two must agree
def act_quant(x, block=128, ue8m0=False, clamp=1e-4):
    """refmodel's, but for how torch divides by a number on a card (oracle_ops.divided)."""
    q = quantised(x, "ue8m0" if ue8m0 else "f32")
    return q.data.float(), q.scales.float()


refmodel.act_quant = act_quant


class Reference(refmodel.RefModel):
    """refmodel, that notes what its linears and norms give and keeps no expert and no table in float64."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.seen = {}

    def w(self, name):
        t = super().w(name)
        if ".experts." in name or "embed_tokens" in name or "head" in name:
            del self._wc[name]
        return t

    def linear(self, x, prefix):
        y = super().linear(x, prefix)
        if ".experts." not in prefix and ".shared_experts." not in prefix:
            self.seen[prefix + ".weight"] = y
        return y

    def norm(self, x, name, eps):
        y = super().norm(x, name, eps)
        self.seen[name] = y
        return y


class Taps:
    """Values of a call that refmodel names too, compared as they appear. Sequences are refmodel's one by one, rows here packed."""

    def __init__(self, checkpoint):
        self.checkpoint, self.rows, self.expected = checkpoint, [], None

    def expect(self, models, starts, outs):
        self.expected = {}
        self.models, self.outs, self.starts = models, outs, starts
        for name in models[0].seen:
            self.expected[name] = torch.cat([m.seen[name] for m in models])

    def compare(self, what, got, want):
        want = want.to(got.device)
        if got.shape != want.shape:
            self.rows.append({"what": what, "shapes": f"{tuple(got.shape)} {tuple(want.shape)}", "apart": 1e9})
            return
        apart = float((got - want).abs().max() / want.abs().max().clamp(min=1e-30))
        self.rows.append({"what": what, "apart": apart})

    def node(self, func, layer, n, ins, outs, sequence):
        if self.expected is None:
            return
        expected = self.expected if sequence is None else self.models[sequence].seen
        at = f"{func}|{'' if layer is None else layer}|{n['op']}"
        for w in ins:
            if not isinstance(w, Weight) or w.source["kind"] != "checkpoint":
                continue
            # The parts of a product by the tensor that made them, and norms by their gain.
            axes = len(w.source["pieces"][0]["at"])
            if n["op"] in ("linear", "block_linear", "norm_linear", "norm_block_linear") and axes <= 1 and len(w.plan["shape"]) > 1:
                for i in range(w.plan["shape"][0] if axes else 1):
                    y = outs[0].data[:, i] if axes else outs[0].data
                    for name, rows, _ in w.pieces((i,) if axes else ()):
                        if name in expected:
                            self.compare(f"{at} {name}", y[:, rows[0] : rows[1]] if rows else y, expected[name])
            name = next(w.pieces(()), (None,))[0] if not axes else None
            if name in expected and "norm" in n["op"] and "linear" not in n["op"]:
                want = expected[name]
                if outs[0].data.shape[0] == len(self.models):
                    want = want[[s - 1 for s in self.starts[1:]]]
                for v, key in zip(outs, [o["name"] for o in n["outs"]]):
                    if v.scales is not None:
                        codes, scales = act_quant(want, ue8m0=self.checkpoint.ue8m0)
                        self.compare(f"{at} {name} codes", v.data, codes.double())
                        self.compare(f"{at} {name} scales", v.scales, scales.double())
                    elif key in ("out", "y"):
                        self.compare(f"{at} {name}", v.data, want)
        if n["op"] == "route":
            prefix = f"model.layers.{layer}.mlp."
            found = [next(r for r in m.routes if r[0] == prefix) for m in self.models]
            order = [r[1].sort(-1)[1] for r in found]
            k = found[0][1].shape[1]
            self.compare(f"{at} indices", outs[0].data[:, :k].double(), torch.cat([r[1].gather(1, o) for r, o in zip(found, order)]).double())
            self.compare(f"{at} weights", outs[1].data[:, :k], torch.cat([r[2].gather(1, o) for r, o in zip(found, order)]))

    def function(self, name, layer, f, outs):
        if self.expected is None:
            return
        for r, v in zip(f["results"], outs):
            if "/" not in name:
                if r["name"] == "logits":
                    self.compare(f"{name} logits", v.data, torch.stack([o["logits"][-1] for o in self.outs]))
            elif v.rows is not None:
                for b, rows in enumerate(v.rows):
                    latent, key = self.models[b].kv[layer]
                    self.compare(f"{name}|{layer} cache of sequence {b}", rows, torch.cat([latent, key], -1))
            elif r["type"]["kind"] == "tensor":
                self.compare(f"{name}|{layer} {r['name']}", v.data, torch.cat([o["hidden"][layer + 1] for o in self.outs]))


# ------------------------------------------------------------------ files
class Sink:
    """Tensors of a call on their way to a safetensors file."""

    def __init__(self):
        self.tensors = {}

    def value(self, key, v, part):
        if not isinstance(v, T):
            return
        if v.rows is not None:
            for b, r in enumerate(v.rows):
                self.add(f"{key}#{b}|{part}", r, v.dtype if part == "t" else "f32")
        elif v.scales is not None:
            self.add(f"{key}|{part}", v.data, "e4m3")
            self.add(f"{key}|{part}s", v.scales, "f32")
            for name, pair in (("lo", v.low), ("hi", v.high)):
                if pair is not None:
                    self.add(f"{key}|{name}", pair[0], "e4m3")
                    self.add(f"{key}|{name}s", pair[1], "f32")
        elif v.data is not None:
            self.add(f"{key}|{part}", v.data, v.dtype if part == "t" or v.dtype == "i32" else "f32")

    def add(self, key, t, dtype):
        to = {"bf16": torch.bfloat16, "f32": torch.float32, "i32": torch.int32, "e4m3": F8}[dtype]
        t = t.float().to(to) if dtype == "bf16" else t.to(to)
        self.tensors[key] = (t.contiguous(), {"bf16": "BF16", "f32": "F32", "i32": "I32", "e4m3": "F8_E4M3"}[dtype])

    def write(self, file):
        header, at = {}, 0
        for key, (t, dtype) in self.tensors.items():
            size = t.numel() * t.element_size()
            header[key] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(file, "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text)
            for t, _ in self.tensors.values():
                f.write(memoryview(t.reshape(-1).view(torch.uint8).cpu().numpy()))
        return at


@torch.no_grad()
def main():
    job, out = json.load(open(sys.argv[1])), sys.argv[2]
    began = time.time()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    checkpoint = Checkpoint(job["config"], job["seed"], device)
    report = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "torch": torch.__version__, "calls": []}
    taps, models, evaluator, finals = Taps(checkpoint), {}, {}, {}
    for c in job["calls"]:
        t0 = time.time()
        sink = Sink()
        group = c["group"]
        if group not in evaluator:
            evaluator[group] = Evaluator(job, checkpoint, sink, taps)
            models[group] = [Reference(job["config"], checkpoint, torch.float64, act_fp8=checkpoint.fp8) for _ in c["lengths"]]
            for m in models[group][1:]:
                m._wc = models[group][0]._wc
        evaluator[group].sink = sink
        taps.rows, taps.expected = [], None
        if c["reference"]:
            results = []
            for b, m in enumerate(models[group]):
                m.seen, m.routes = {}, []
                m.absorbed = c["absorbed"]
                ids = torch.tensor(c["ids"][c["starts"][b] : c["starts"][b + 1]], device=device)
                start = c["lengths"][b] - len(ids)
                if c.get("layer") is None:
                    finals[group, b] = m.forward(ids, start=start)
                    results.append(finals[group, b])
                else:
                    y = m.mtp(ids, finals[group, b]["final"], start=start)
                    results.append(dict(y, hidden={c["layer"] + 1: y["hidden"]}))
            taps.expect(models[group], c["starts"], results)
        t1 = time.time()
        try:
            evaluator[group].call(c)
        except Enough:
            pass
        t2 = time.time()
        size = sink.write(os.path.join(out, c["name"] + ".safetensors"))
        report["calls"].append({"name": c["name"], "agreement": taps.rows, "bytes": size, "seconds": [round(t1 - t0, 2), round(t2 - t1, 2), round(time.time() - t2, 2)]})
    # What load functions write, from weights alone.
    sink = Sink()
    for load in job["load"]:
        for layer in load["layers"]:
            e = Evaluator(job, checkpoint, sink, Taps(checkpoint))
            e.exact = e.local = type("", (), {"local": True})()
            e.run(load["func"], layer, [])
    sink.write(os.path.join(out, "load.safetensors"))
    report["seconds"] = round(time.time() - began, 2)
    json.dump(report, open(os.path.join(out, "agreement.json"), "w"))


if __name__ == "__main__":
    main()

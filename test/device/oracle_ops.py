"""The ops of the graph in torch: what each means, from its operands, in float64.

Two ways to run. Exact: no rounding but that of quantisation, which is meaning; values then equal refmodel.py's. Local (`local` is
true): operands are as kernels read them, rounded to their dtypes, and only what a kernel keeps of a fused op is rounded as it is
kept. A norm before a quantisation is then summed in the order that every target promises, in float32, so that codes are exact.
A quantised result also has `low` and `high`: the codes and scales of values moved by `slack` either way.
"""
import torch

F8 = torch.float8_e4m3fn


class T:
    """A value: data in float64 or int64; scales where it is quantised; rows by sequence where it is a cache."""

    def __init__(self, data, dtype, scales=None, rows=None, low=None, high=None):
        self.data, self.dtype, self.scales, self.rows, self.low, self.high = data, dtype, scales, rows, low, high


def rounded(x, dtype):
    """x, float64, as a buffer of that dtype holds it."""
    if dtype == "bf16":
        return x.float().bfloat16().double()
    return x.float().double() if dtype == "f32" else x


def typed(v):
    """An operand as a kernel reads it."""
    if isinstance(v, T) and v.rows is not None:
        return T(None, v.dtype, rows=[rounded(r, v.dtype) for r in v.rows])
    plain = isinstance(v, T) and v.scales is None and v.data is not None and v.data.is_floating_point()
    return T(rounded(v.data, v.dtype), v.dtype) if plain else v


# ------------------------------------------------------------------ quantisation
def pow2ceil(s):
    m, e = torch.frexp(s)
    return torch.ldexp(torch.ones_like(s), torch.where(m == 0.5, e - 1, e))


def blocks(x):
    """[.., k] as [.., k / 128, 128], padded with zeros."""
    k = x.shape[-1]
    n = -(-k // 128)
    return torch.nn.functional.pad(x, (0, n * 128 - k)).reshape(*x.shape[:-1], n, 128)


def divided(x, by):
    """x / by in float32. On a card torch divides by a number as it multiplies by 1 / it, which is another rounding."""
    return x / torch.full_like(x, by)


def scales_of(x, ue8m0):
    s = divided(blocks(x.float()).abs().amax(-1).clamp(min=1e-4), 448.0)
    return pow2ceil(s) if ue8m0 else s


def codes_of(x, s):
    k = x.shape[-1]
    q = (blocks(x.float()) / s[..., None]).clamp(-448, 448).to(F8).double()
    return q.reshape(*x.shape[:-1], -1)[..., :k]


def quantised(x, scale, slack=None):
    """1x128 quantisation; slack is how far a kernel's value may lie from x, element by element."""
    ue8m0 = scale == "ue8m0"
    s = scales_of(x, ue8m0)
    out = T(codes_of(x, s), "e4m3/1x128", s.double())
    if slack is not None:
        # The farthest a value and its block's largest can go, together.
        size = x.abs()
        near, far = scales_of((size - slack).clamp(min=0), ue8m0), scales_of(size + slack, ue8m0)
        ends = torch.stack([codes_of(v, t) for v in (x - slack, x + slack) for t in (near, far)])
        out.low, out.high = (ends.amin(0), near.double()), (ends.amax(0), far.double())
    return out


def dense(v, local=False):
    """Data with scales multiplied in; a weight is asked for its matrix."""
    if not isinstance(v, T):
        return v.dense(local)
    if v.scales is None:
        return v.data
    k = v.data.shape[-1]
    return v.data * v.scales.repeat_interleave(128, -1)[..., :k]


# ------------------------------------------------------------------ norms
EPSILON = 2.0**-20


def normalised(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def normalised32(x, gain, eps):
    """The same in float32: 128 columns in a tree, column j to j + n/2; blocks in order."""
    x, gain = x.float(), gain.float()
    part = blocks(x * x)
    while part.shape[-1] > 1:
        n = part.shape[-1] // 2
        part = part[..., :n] + part[..., n:]
    squares = torch.zeros_like(part[..., 0, 0])
    for p in range(part.shape[-2]):
        squares = squares + part[..., p, 0]
    # Roots by way of float64, for torch's float32 ones are an ulp off here and there.
    root = (divided(squares, x.shape[-1]) + torch.full_like(squares, eps)).double().sqrt().float()
    by = torch.ones_like(root) / root
    return (x * by[..., None] * gain).double()


def norm_then_quantise(x, gain, attrs, env):
    gain = dense(gain)
    if not env.local:
        return quantised(normalised(x, gain, attrs["eps"]), attrs["scale"])
    y = normalised32(x, gain, attrs["eps"])
    return quantised(y, attrs["scale"], y.abs() * EPSILON)


def rms_norm(v, attrs, env):
    return T(normalised(v["x"].data, dense(v["gain"]), attrs["eps"]), v["x"].dtype)


def norm_quant(v, attrs, env):
    return norm_then_quantise(v["x"].data, v["gain"], attrs, env)


def added(v, env):
    s = v["a"].data + v["b"].data
    return s, (rounded(s, v["a"].dtype) if env.local else s)


def add_norm(v, attrs, env):
    s, kept = added(v, env)
    return {"sum": T(s, v["a"].dtype), "y": T(normalised(kept, dense(v["gain"]), attrs["eps"]), v["a"].dtype)}


def add_norm_quant(v, attrs, env):
    s, kept = added(v, env)
    return {"sum": T(s, v["a"].dtype), "codes": norm_then_quantise(kept, v["gain"], attrs, env)}


def add_norm_both(v, attrs, env):
    return {**add_norm(v, attrs, env), **add_norm_quant(v, attrs, env)}


# ------------------------------------------------------------------ elementwise
def gated(g, u, attrs):
    """act(gate) * up, both clamped where there is a limit; in float32, or in float64."""
    if attrs["limit"]:
        g, u = g.clamp(max=attrs["limit"]), u.clamp(-attrs["limit"], attrs["limit"])
    if attrs["act"] == "gelu_pytorch_tanh":
        return torch.nn.functional.gelu(g, approximate="tanh") * u
    return g / (torch.ones_like(g) + torch.exp(-g)) * u


def gated_pair(x, attrs):
    return gated(x[..., 0, :], x[..., 1, :], attrs)


def gated_pair32(x, attrs):
    """The same in float32, step by step; expf has the card's bits on a card, and is within 2 ulp of them elsewhere."""
    return gated_pair(x.float(), attrs).double()


def gated_quant(v, attrs, env):
    x = v["x"].data
    if not env.local:
        return quantised(gated_pair(x, attrs), attrs["scale"])
    y = gated_pair32(x, attrs)
    return quantised(y, attrs["scale"], y.abs() * EPSILON)


def same(v, key, data):
    return T(data, v[key].dtype)


# ------------------------------------------------------------------ products
def product(x, w):
    """[.., k] by [.., n, k] with leading axes of w as parts: [.., parts.., n]."""
    out = x @ w.reshape(-1, w.shape[-1]).T
    return out.reshape(*x.shape[:-1], *w.shape[:-1])


def linear(v, attrs, env):
    dtype = attrs["dtype"] if attrs["dtype"] != "same" else v["x"].dtype
    return T(product(dense(v["x"]), dense(v["w"], env.local)), dtype)


def kept(x, dtype, env):
    """What a fused op would have stored between its parts."""
    return rounded(x, dtype) if env.local else x


def norm_linear(v, attrs, env):
    y = normalised(v["x"].data, dense(v["gain"]), attrs["eps"])
    return linear({"x": T(kept(y, v["x"].dtype, env), v["x"].dtype), "w": v["w"]}, attrs, env)


def norm_linear_both(v, attrs, env):
    y = normalised(v["x"].data, dense(v["gain"]), attrs["eps"])
    z = T(kept(y, v["x"].dtype, env), v["x"].dtype)
    return {"z": z, "y": linear({"x": z, "w": v["w"]}, attrs, env)}


def linear_add(v, attrs, env):
    y = product(v["x"].data, dense(v["w"], env.local))
    return same(v, "residual", kept(y, v["x"].dtype, env) + v["residual"].data)


def norm_block_linear(v, attrs, env):
    x = norm_then_quantise(v["x"].data, v["gain"], attrs, env)
    return linear({"x": x, "w": v["w"]}, attrs, env)


def block_linear_add(v, attrs, env):
    y = product(dense(v["x"]), dense(v["w"], env.local))
    return same(v, "residual", kept(y, v["residual"].dtype, env) + v["residual"].data)


def gated_linear_add(v, attrs, env):
    x = T(kept(gated_pair(v["x"].data, attrs), v["x"].dtype, env), v["x"].dtype)
    return linear_add({"x": x, "w": v["w"], "residual": v["residual"]}, attrs, env)


def grouped_linear(v, attrs, env):
    x, offsets, w = dense(v["x"]), v["offsets"].data.tolist(), v["w"]
    out = None
    for e in range(len(offsets) - 1):
        if offsets[e + 1] == offsets[e]:
            continue
        y = product(x[offsets[e] : offsets[e + 1]], w.dense(env.local, (e,)))
        if out is None:
            out = torch.zeros(x.shape[0], *y.shape[1:], dtype=torch.float64, device=x.device)
        out[offsets[e] : offsets[e + 1]] = y
    return T(out, attrs["dtype"])


def grouped_linear_gated(v, attrs, env):
    """Gate and up are not written, and so not rounded."""
    return T(gated_pair(grouped_linear(v, attrs, env).data, attrs), attrs["dtype"])


def einsum(v, attrs, env):
    return T(torch.einsum(attrs["spec"], v["a"].data, dense(v["b"], env.local)), v["a"].dtype)


def einsum_quant(v, attrs, env):
    y = einsum(v, attrs, env).data
    slack = None
    if env.local:
        # A sum of 128 to 512 products in float32 on tensor cores; where it lies near the middle of two bf16 it goes either way.
        size = torch.einsum(attrs["spec"], v["a"].data.abs(), dense(v["b"], True).abs()) * 2.0**-18
        low, high = rounded(y - size, v["a"].dtype), rounded(y + size, v["a"].dtype)
        y = rounded(y, v["a"].dtype)
        slack = torch.maximum(high - y, y - low).flatten(-2)
    return quantised(y.flatten(-2), attrs["scale"], slack)


# ------------------------------------------------------------------ attention
def rotated(x, table, env, interleaved):
    cos, sin = table.cos_sin(env.positions, env.local)
    while cos.dim() < x.dim():
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    half = x.shape[-1] // 2
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def rope(v, attrs, env):
    return same(v, "x", rotated(v["x"].data, v["table"], env, attrs["interleaved"]))


def appended(cache, c, kp, env):
    rows = []
    for b, length in enumerate(env.lengths):
        begin, end = env.starts[b], env.starts[b + 1]
        new = torch.cat([c[begin:end], kp[begin:end]], -1)
        old = cache.rows[b][: length - (end - begin)]
        rows.append(torch.cat([old, new]))
    return T(None, cache.dtype, rows=rows)


def cache_append(v, attrs, env):
    return appended(v["cache"], v["c"].data, v["kp"].data, env)


def rope_append(v, attrs, env):
    c = normalised(v["c"].data, dense(v["gain"]), attrs["eps"])
    return appended(v["cache"], c, rotated(v["kr"].data, v["table"], env, attrs["interleaved"]), env)


def mla_query(v, attrs, env):
    ql = torch.einsum("thn,hnr->thr", v["qc"].data, dense(v["wUk"], env.local))
    qp = rotated(v["qr"].data, v["table"], env, attrs["interleaved"])
    return {"ql": same(v, "qc", ql), "qp": same(v, "qc", qp), "after": rope_append(v, attrs, env)}


def causal(scores):
    """Softmax over [t, h, s]: row i of t sees rows 0 .. s - t + i."""
    t, _, s = scores.shape
    seen = torch.arange(s, device=scores.device)[None, :] <= torch.arange(s - t, s, device=scores.device)[:, None]
    return scores.masked_fill(~seen[:, None, :], float("-inf")).softmax(-1)


def attend(v, attrs, env):
    q, qp, k, kp, w = (v[n].data for n in ("q", "qp", "k", "kp", "v"))
    letters = "shn" if k.dim() == 3 else "sn"
    p = causal((torch.einsum(f"thn,{letters}->ths", q, k) + torch.einsum("thd,sd->ths", qp, kp)) * attrs["scale"])
    return same(v, "q", torch.einsum("ths,shv->thv" if w.dim() == 3 else "ths,sv->thv", p, w))


def mla_attend(v, attrs, env):
    ql, qp = v["ql"].data, v["qp"].data
    r, out = ql.shape[-1], torch.empty_like(ql)
    for b, rows in enumerate(v["cache"].rows):
        at = slice(env.starts[b], env.starts[b + 1])
        p = causal((torch.einsum("thr,sr->ths", ql[at], rows[:, :r]) + torch.einsum("thd,sd->ths", qp[at], rows[:, r:])) * attrs["scale"])
        out[at] = torch.einsum("ths,sr->thr", p, rows[:, :r])
    return same(v, "ql", out)


# ------------------------------------------------------------------ experts
def route(v, attrs, env):
    x, bias = v["logits"].data, v.get("bias")
    scores = x.sigmoid() if attrs["scoring"] == "sigmoid" else x.softmax(-1)
    c = scores if bias is None else scores + dense(bias)
    groups = attrs["groups"]
    if attrs["method"] != "greedy" and groups > 1:
        by = c.reshape(c.shape[0], groups, -1)
        rank = by.topk(2, -1)[0].sum(-1) if attrs["method"] == "noaux_tc" else by.amax(-1)
        keep = torch.zeros_like(rank, dtype=torch.bool).scatter(1, rank.topk(attrs["kept"], -1)[1], True)
        c = c.masked_fill(~keep.repeat_interleave(c.shape[1] // groups, 1), float("-inf"))
    at = c.topk(attrs["topk"], -1)[1].sort(-1)[0]
    w = scores.gather(1, at)
    if attrs["normalise"]:
        w = w / (w.sum(-1, keepdim=True) + 1e-20)
    w = w * attrs["factor"]
    shared = attrs.get("shared", 0)
    if shared:
        more = torch.arange(x.shape[1], x.shape[1] + shared, device=x.device).expand(x.shape[0], shared)
        at, w = torch.cat([at, more], 1), torch.cat([w, torch.ones_like(more, dtype=w.dtype)], 1)
    return {"indices": T(at, "i32"), "weights": T(w, "f32")}


def sort_experts(v, attrs, env):
    flat = v["indices"].data.flatten()
    order = flat.sort(stable=True)[1]
    offsets = torch.searchsorted(flat[order], torch.arange(attrs["experts"] + 1, device=flat.device))
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=flat.device)
    return {"order": T(order, "i32"), "offsets": T(offsets, "i32"), "places": T(places, "i32")}


def gather_rows(v, attrs, env):
    x, rows = v["x"], v["order"].data // attrs["per"]
    return T(x.data[rows], x.dtype, None if x.scales is None else x.scales[rows])


def combined(v):
    k = v["weights"].data.shape[1]
    return (v["ys"].data[v["places"].data].reshape(-1, k, v["ys"].data.shape[1]) * v["weights"].data[..., None]).sum(1)


def combine_add(v, attrs, env):
    y = v["x"].data + combined(v)
    return same(v, "x", y + v["shared"].data if "shared" in v else y)


def experts_with(v, attrs, env, gate):
    """sort_experts, gather_rows, grouped_linear, `gate`, grouped_linear and combine_add, stored between as they would be."""
    dtype = v["residual"].dtype
    sorted_ = sort_experts(v, {"experts": v["gateUp"].plan["shape"][0]}, env)
    x = gather_rows({"x": v["x"], "order": sorted_["order"]}, {"per": v["indices"].data.shape[1]}, env)

    def grouped(x, w):
        y = grouped_linear({"x": x, "w": v[w], "offsets": sorted_["offsets"]}, {"dtype": dtype}, env)
        return T(kept(y.data, dtype, env), dtype)

    ys = grouped(gate(grouped(x, "gateUp")), "down")
    return combine_add({"ys": ys, "places": sorted_["places"], "weights": v["weights"], "x": v["residual"]}, attrs, env)


def experts_add(v, attrs, env):
    return experts_with(v, attrs, env, lambda x: gated_quant({"x": x}, attrs, env))


def route_experts_add(v, attrs, env):
    return experts_add({**v, **route(v, attrs, env)}, attrs, env)


def plain_experts_add(v, attrs, env):
    return experts_with(v, attrs, env, lambda x: T(kept(gated_pair(x.data, attrs), x.dtype, env), x.dtype))


def route_plain_experts_add(v, attrs, env):
    return plain_experts_add({**v, **route(v, attrs, env)}, attrs, env)


# ------------------------------------------------------------------ views
def split(v, attrs, env):
    x, axis, at = v["x"].data, attrs["axis"], attrs["at"]
    return {"left": same(v, "x", x.narrow(axis, 0, at)), "right": same(v, "x", x.narrow(axis, at, x.shape[axis] - at))}


def reshape(v, attrs, env):
    x = v["x"]
    sizes = [d if isinstance(d, int) else -1 for d in attrs["dims"]]
    return T(dense(x).reshape(sizes), x.dtype)


OPS = {
    "embed": lambda v, attrs, env: T(v["table"].rows(v["ids"].data), attrs["dtype"]),
    "linear": linear, "block_linear": linear, "grouped_linear": grouped_linear,
    "grouped_linear_gated": grouped_linear_gated, "norm_linear_both": norm_linear_both,
    "norm_linear": norm_linear, "linear_add": linear_add, "gated_linear_add": gated_linear_add,
    "norm_block_linear": norm_block_linear, "block_linear_add": block_linear_add,
    "rms_norm": rms_norm, "norm_quant": norm_quant, "add_norm": add_norm, "add_norm_quant": add_norm_quant, "add_norm_both": add_norm_both,
    "gated_quant": gated_quant,
    "quantize": lambda v, attrs, env: quantised(v["x"].data, attrs["scale"]),
    "dequantize": lambda v, attrs, env: T(dense(v["x"], env.local), attrs["dtype"]),
    "rope": rope, "cache_append": cache_append, "rope_append": rope_append, "mla_query": mla_query,
    "softmax_causal": lambda v, attrs, env: same(v, "x", causal(v["x"].data)),
    "attend": attend, "mla_attend": mla_attend,
    "route": route, "sort_experts": sort_experts, "gather_rows": gather_rows,
    "combine": lambda v, attrs, env: same(v, "ys", combined(v)), "combine_add": combine_add,
    "add": lambda v, attrs, env: same(v, "a", v["a"].data + v["b"].data),
    "mul": lambda v, attrs, env: same(v, "a", v["a"].data * v["b"].data),
    "scale": lambda v, attrs, env: same(v, "x", v["x"].data * attrs["by"]),
    "gated": lambda v, attrs, env: same(v, "gate", gated(v["gate"].data, v["up"].data, attrs)),
    "gated_pair": lambda v, attrs, env: same(v, "x", gated_pair(v["x"].data, attrs)),
    "add_bias": lambda v, attrs, env: same(v, "x", v["x"].data + dense(v["bias"])),
    "experts_add": experts_add, "route_experts_add": route_experts_add,
    "plain_experts_add": plain_experts_add, "route_plain_experts_add": route_plain_experts_add,
    "argmax": lambda v, attrs, env: T(v["x"].data.argmax(-1), "i32"),
    "einsum": einsum, "einsum_quant": einsum_quant,
    "reshape": reshape, "split": split,
    "concat": lambda v, attrs, env: same(v, "a", torch.cat([v["a"].data, v["b"].data], -1)),
    "last_rows": lambda v, attrs, env: same(v, "x", v["x"].data[[s - 1 for s in env.starts[1:]]]),
}
VIEWS = {"reshape", "split", "weight", "param"}

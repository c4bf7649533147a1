# Normalise a row and quantise it to e4m3 with one scale per 128 columns, in one visit.
#   x: f32[m, 1536] strides [2112, 1]
#   gain: bf16[1536]
#   out codes: e4m3[m, 1536]
#   out scales: f32[m, 12]
# Origin: tile program norm_quant_1536. Compile with enable_fp_fusion=False.
import triton
import triton.language as tl


@triton.jit
def to_e4m3(x):
    # To nearest even, saturating at 448. Below 2^-6 the grid is uniform: adding 2^14 aligns its step with the last bit.
    a = tl.minimum(tl.abs(x), 448.0)
    bits = a.to(tl.int32, bitcast=True)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - 960
    small = (a + 16384.0).to(tl.int32, bitcast=True) - 0x46800000
    sign = (x.to(tl.int32, bitcast=True) >> 24) & 0x80
    return tl.where(x != x, 0x7F, tl.where(a < 0.015625, small, normal) | sign).to(tl.uint8)


@triton.jit
def tree_sum_128(v):
    # Column j to column j + n/2, halving n: the one order every target uses.
    v = tl.sum(tl.reshape(v, (2, 64)), axis=0)
    v = tl.sum(tl.reshape(v, (2, 32)), axis=0)
    v = tl.sum(tl.reshape(v, (2, 16)), axis=0)
    v = tl.sum(tl.reshape(v, (2, 8)), axis=0)
    v = tl.sum(tl.reshape(v, (2, 4)), axis=0)
    v = tl.sum(tl.reshape(v, (2, 2)), axis=0)
    return tl.sum(v, axis=0)


@triton.jit(do_not_specialize=["m"])
def norm_quant_1536(x, gain, codes, scales, m):
    wide = tl.full((), 1, tl.int64)  # offsets are 64 bits wide
    c128 = tl.arange(0, 128)
    i = tl.program_id(0)  # grid i < m
    squares = tl.full((), 0.0, tl.float32)
    for p in range(0, 1536, 128):
        v = tl.load(x + wide * i * 2112 + p + c128)
        sq = (v * v)
        sum_tile = tree_sum_128(sq)
        squares = (squares + sum_tile)
    by = tl.div_rn(1.0, tl.sqrt_rn((tl.div_rn(squares, 1536.0) + 0.000001)))
    for p in range(0, 1536, 128):
        v1 = tl.load(x + wide * i * 2112 + p + c128)
        g = tl.load(gain + p + c128).to(tl.float32)
        n = ((v1 * by) * g)
        size = tl.abs(n)
        amax = tl.max(size, axis=0)
        s = tl.div_rn(tl.maximum(amax, 0.0001, propagate_nan=tl.PropagateNan.ALL), 448.0)
        code = tl.div_rn(n, s)
        tl.store(codes + wide * i * 1536 + p + c128, to_e4m3(code))
        tl.store(scales + wide * i * 12 + p // 128, s)

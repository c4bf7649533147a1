// The functions of vectors.h over registers of tiles (AMX): a row of weights put into tiles, and the product of two panels of tiles.

export const matrixFunctions = `
#include <sys/syscall.h>
#include <unistd.h>

// Linux lets a process use the registers when it asks: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
static int matrix_allowed;
__attribute__((constructor)) static void matrix_ask(void) { matrix_allowed = !syscall(SYS_arch_prctl, 0x1023, 18); }
static inline int matrix_ready_i64(int64_t x) { return matrix_allowed; }

// Row r of b: pairs of its columns, 16 pairs a tile, each beside those of the 15 other rows of the tile.
static inline void matrix_row(bf16 *tiles, const bf16 *row, int64_t r, int64_t columns, int64_t in_row) {
  uint32_t *to = (uint32_t *)tiles + r / 16 * in_row * 256 + r % 16;
  for (int64_t t = 0; t < columns / 32; t++, row += 32, to += 256)
    for (int p = 0; p < 16; p++) __builtin_memcpy(to + 16 * p, row + 2 * p, 4);
}

// sums += a b^T in blocks of 32 by 32; a in two parts, whose tiles follow each other.
static void matrix_product(const bf16 *a, const bf16 *b, float *sums, int64_t stride, int64_t m, int64_t n, int64_t columns,
                           int64_t in_row) {
  // Palette 1: eight registers of 16 rows of 64 bytes.
  static const struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } shapes = {
    1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&shapes);
  for (int64_t j = 0; j < n; j += 32)
    for (int64_t i = 0; i < m; i += 32) {
      float *s = sums + i * stride + j;
      _tile_loadd(0, s, stride * 4);
      _tile_loadd(1, s + 16, stride * 4);
      _tile_loadd(2, s + 16 * stride, stride * 4);
      _tile_loadd(3, s + 16 * stride + 16, stride * 4);
      const bf16 *x = a + i / 16 * in_row * 1024, *y = b + j / 16 * in_row * 512;
      for (int64_t t = 0; t < columns / 32; t++, x += 1024, y += 512) {
        _tile_loadd(6, y, 64);
        _tile_loadd(7, y + in_row * 512, 64);
        for (int part = 0; part < 2; part++) {
          _tile_loadd(4, x + 512 * part, 64);
          _tile_loadd(5, x + in_row * 1024 + 512 * part, 64);
          _tile_dpbf16ps(0, 4, 6);
          _tile_dpbf16ps(1, 4, 7);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, s, stride * 4);
      _tile_stored(1, s + 16, stride * 4);
      _tile_stored(2, s + 16 * stride, stride * 4);
      _tile_stored(3, s + 16 * stride + 16, stride * 4);
    }
  _tile_release();
}
`;

// A library that speaks tvm-ffi's ABI with nothing of it: no header, no link. The one symbol it needs is weak.
#include <stdint.h>
#include <stdio.h>

typedef struct {
  int32_t kind;
  uint32_t zero;
  union {
    int64_t i;
    double f;
    void *p;
  } as;
} Value;
typedef struct {
  void *data;
  int32_t device_type, device_id, axes;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t offset;
} DLTensor;

__attribute__((weak)) void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);

static int raise(const char *kind, const char *message) {
  TVMFFIErrorSetRaisedFromCStr(kind, message);
  return -1;
}

static DLTensor *tensor(const Value *v) {
  return v->kind == 7 ? v->as.p : v->kind == 70 ? (DLTensor *)((char *)v->as.p + 24) : 0;
}

// add_scalar(x: f32[n], y: f32[n], s: float) -> n
int __tvm_ffi_add_scalar(void *self, const Value *args, int32_t n, Value *result) {
  char text[96];
  if (n != 3) {
    snprintf(text, sizeof text, "add_scalar takes 3 arguments, got %d", n);
    return raise("TypeError", text);
  }
  DLTensor *x = tensor(args), *y = tensor(args + 1);
  if (!x || !y) return raise("TypeError", "add_scalar: x and y have to be tensors");
  if (x->code != 2 || x->bits != 32) return raise("TypeError", "add_scalar: x has to be float32");
  if (x->axes != 1 || y->axes != 1 || x->shape[0] != y->shape[0]) return raise("ValueError", "add_scalar: shapes differ");
  double s = args[2].kind == 3 ? args[2].as.f : (double)args[2].as.i;
  for (int64_t i = 0; i < x->shape[0]; i++)
    ((float *)((char *)y->data + y->offset))[i] = ((float *)((char *)x->data + x->offset))[i] + (float)s;
  result->kind = 1;
  result->as.i = x->shape[0];
  return 0;
}

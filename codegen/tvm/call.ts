// What every launcher of an exported library begins with, in C: tvm-ffi's stable ABI (its c_api.h, version 0.1) and DLPack's tensor.
// Nothing of either is included, so that the library needs libc alone to be built and to be loaded.

export const call = `#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* tvm-ffi: a value is a kind and eight bytes; a function is int (self, args, count, result), 0 when it went well. */
enum { KIND_NONE = 0, KIND_INT = 1, KIND_FLOAT = 3, KIND_DLTENSOR = 7, KIND_TENSOR = 70, OBJECT_HEADER = 24 };
typedef struct {
  int32_t kind;
  uint32_t zero;
  union { int64_t i; double f; void *p; } as;
} Value;
typedef struct { const char *data; size_t size; } Bytes;
/* Weak: in a process without libtvm_ffi the message is what dsc_last_error() says. */
__attribute__((weak)) void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);
__attribute__((weak)) void *TVMFFIEnvGetStream(int32_t device_type, int32_t device_id);
__attribute__((weak)) int TVMFFIStringFromByteArray(const Bytes *bytes, Value *result);

/* DLPack. */
enum { DEVICE_CPU = 1, DEVICE_CUDA = 2 };
typedef struct {
  void *data;
  int32_t device_type, device_id, axes;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t offset;
} Tensor;
typedef struct { const char *name; uint8_t code, bits, also; } DType;
/* bf16 may come as uint16 and e4m3 as bytes: not every framework has the types. */
static const DType F32 = {"float32", 2, 32, 2}, BF16 = {"bfloat16", 4, 16, 1}, I32 = {"int32", 0, 32, 0};
static const DType E4M3 = {"float8_e4m3fn", 10, 8, 1};

static int64_t dsc_max(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t dsc_min(int64_t a, int64_t b) { return a < b ? a : b; }

/* One call: what it was given, and whether something was wrong with it. */
typedef struct {
  const char *usage;
  const Value *args;
  int32_t device; /* of the first tensor, which the others share; -1 before it */
  int failed;
} Call;

static __thread char last_error[800];
__attribute__((visibility("default"))) const char *dsc_last_error(void) { return last_error; }

/* Keeps the first fault of a call. */
static void *fail(Call *call, const char *kind, const char *format, ...) {
  if (call->failed) return 0;
  call->failed = 1;
  va_list list;
  va_start(list, format);
  const int at = vsnprintf(last_error, sizeof last_error, format, list);
  va_end(list);
  if (at >= 0 && at < (int)sizeof last_error) snprintf(last_error + at, sizeof last_error - at, ": %s", call->usage);
  if (TVMFFIErrorSetRaisedFromCStr) TVMFFIErrorSetRaisedFromCStr(kind, last_error);
  return 0;
}

static Call begin(const char *usage, const Value *args, int32_t count, int32_t wanted) {
  Call call = {usage, args, -1, 0};
  if (count != wanted) fail(&call, "TypeError", "%d arguments were given, and it takes %d", (int)count, (int)wanted);
  return call;
}

/* A size: a whole number that an int of the kernel holds. */
static int64_t size_at(Call *call, int at, const char *name) {
  if (call->failed) return 0;
  const Value *v = &call->args[at];
  if (v->kind != KIND_INT) fail(call, "TypeError", "%s has to be an int", name);
  else if (v->as.i < 0 || v->as.i > INT32_MAX)
    fail(call, "ValueError", "%s is %lld, and has to be from 0 to 2147483647", name, (long long)v->as.i);
  return call->failed ? 0 : v->as.i;
}

static double number_at(Call *call, int at, const char *name) {
  if (call->failed) return 0;
  const Value *v = &call->args[at];
  if (v->kind != KIND_INT && v->kind != KIND_FLOAT) fail(call, "TypeError", "%s has to be a number", name);
  return v->kind == KIND_INT ? (double)v->as.i : v->as.f;
}

/* "[3, 7168]" */
static const char *shown(char *text, size_t room, int32_t axes, const int64_t *sizes) {
  size_t at = snprintf(text, room, "[");
  for (int32_t i = 0; i < axes && at + 24 < room; i++)
    at += snprintf(text + at, room - at, i ? ", %lld" : "%lld", (long long)sizes[i]);
  snprintf(text + at, room - at, "]");
  return text;
}

static const char *type_of(char *text, size_t room, const Tensor *t) {
  static const char *const names[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  if (t->code < 7) snprintf(text, room, "%s%d", names[t->code], t->bits);
  else snprintf(text, room, "the type of %d bits that DLPack numbers %d", t->bits, t->code);
  return text;
}

/* The address of a tensor of a type, on the call's device, of the shape and strides that the kernel reads; axes < 0: packed, any shape. */
static void *tensor_at(Call *call, int at, const char *name, DType type, int32_t device_type, int32_t axes, const int64_t *shape,
                       const int64_t *strides) {
  if (call->failed) return 0;
  const Value *v = &call->args[at];
  const Tensor *t = v->kind == KIND_DLTENSOR ? v->as.p : v->kind == KIND_TENSOR ? (Tensor *)((char *)v->as.p + OBJECT_HEADER) : 0;
  char want[160], have[160];
  if (!t) return fail(call, "TypeError", "%s has to be a tensor", name);
  if (t->bits != type.bits || t->lanes != 1 || (t->code != type.code && t->code != type.also))
    return fail(call, "TypeError", "%s has to be %s, and is %s", name, type.name, type_of(have, sizeof have, t));
  if (t->device_type != device_type)
    return fail(call, "ValueError", "%s has to lie %s", name, device_type == DEVICE_CUDA ? "on a CUDA device" : "in host memory");
  if (call->device < 0) call->device = t->device_id;
  if (t->device_id != call->device)
    return fail(call, "ValueError", "%s lies on device %d, and what is before it on device %d", name, (int)t->device_id,
                (int)call->device);
  if (axes >= 0 && (t->axes != axes || (axes && memcmp(t->shape, shape, axes * sizeof *shape))))
    return fail(call, "ValueError", "%s has to be %s, and is %s", name, shown(want, sizeof want, axes, shape),
                shown(have, sizeof have, t->axes, t->shape));
  int64_t packed = 1;
  for (int32_t i = t->axes - 1; i >= 0; i--) {
    const int64_t wanted = axes >= 0 ? strides[i] : packed, has = t->strides ? t->strides[i] : packed;
    if (t->shape[i] > 1 && has != wanted)
      return fail(call, "ValueError", "axis %d of %s has stride %lld, and has to have %lld", (int)i, name, (long long)has,
                  (long long)wanted);
    packed *= t->shape[i];
  }
  return (char *)t->data + t->offset;
}

/* Texts of more than seven bytes are objects of libtvm_ffi. */
static int text_result(const char *text, Value *result) {
  const Bytes bytes = {text, strlen(text)};
  if (TVMFFIStringFromByteArray) return TVMFFIStringFromByteArray(&bytes, result);
  result->kind = KIND_NONE;
  return 0;
}
`;

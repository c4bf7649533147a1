// A library made with tvm-ffi's own export macro, as FlashInfer, TileLang and others ship theirs.
#include <tvm/ffi/tvm_ffi.h>

namespace ffi = tvm::ffi;

static ffi::String join(ffi::Array<ffi::String> words, ffi::String between) {
  std::string out;
  for (const auto &w : words) out += (out.empty() ? "" : std::string(between)) + std::string(w);
  return out;
}

static int64_t positive(int64_t n) {
  if (n <= 0) TVM_FFI_THROW(ValueError) << "n is " << n << ", and has to be positive";
  return n;
}

static ffi::Optional<ffi::String> maybe(bool is) {
  if (is) return ffi::String("there");
  return std::nullopt;
}

static ffi::Any apply(ffi::Function f, int64_t n) { return f(n); }

struct Memory {
  void AllocData(DLTensor *t) { t->data = malloc(ffi::GetDataSize(*t)); }
  void FreeData(DLTensor *t) { free(t->data); }
};

// [2, n]: 0 1 2 ...
static ffi::Tensor counted(int64_t n) {
  ffi::Tensor t = ffi::Tensor::FromNDAlloc(Memory(), ffi::Shape({2, n}), DLDataType{kDLFloat, 32, 1}, DLDevice{kDLCPU, 0});
  for (int64_t i = 0; i < 2 * n; i++) static_cast<float *>(t.data_ptr())[i] = i;
  return t;
}

static double total(ffi::TensorView t) {
  double sum = 0;
  for (int64_t i = 0; i < t.numel(); i++) sum += static_cast<const float *>(t.data_ptr())[i];
  return sum;
}

TVM_FFI_DLL_EXPORT_TYPED_FUNC(counted, counted);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(total, total);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(join, join);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(positive, positive);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(maybe, maybe);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(apply, apply);

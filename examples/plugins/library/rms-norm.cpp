// A function as libraries ship them by tvm-ffi's own macro: rms_norm over rows that may lie apart.
//   INCLUDE=$(python -c "import tvm_ffi, os; print(os.path.dirname(tvm_ffi.__file__) + '/include')")
//   g++ -O3 -shared -fPIC -std=c++17 -I$INCLUDE -o rms-norm.so rms-norm.cpp
#include <cmath>
#include <cstring>
#include <tvm/ffi/tvm_ffi.h>

namespace ffi = tvm::ffi;

static bool is(ffi::TensorView t, uint8_t code, uint8_t bits) { return t.dtype().code == code && t.dtype().bits == bits; }

/* Weights are bfloat16 or float32. */
static float at(ffi::TensorView t, int64_t i) {
  if (t.dtype().bits == 32) return static_cast<const float *>(t.data_ptr())[i];
  const uint32_t bits = static_cast<const uint16_t *>(t.data_ptr())[i] << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static void rms_norm(ffi::TensorView x, ffi::TensorView gain, ffi::TensorView y, double eps) {
  if (!is(x, kDLFloat, 32) || !is(y, kDLFloat, 32)) TVM_FFI_THROW(TypeError) << "x and y have to be float32";
  if (!is(gain, kDLFloat, 32) && !is(gain, kDLBfloat, 16)) TVM_FFI_THROW(TypeError) << "gain has to be float32 or bfloat16";
  if (x.ndim() != 2 || y.ndim() != 2 || gain.ndim() != 1) TVM_FFI_THROW(ValueError) << "x and y have to have two axes, gain one";
  const int64_t d = x.size(1);
  if (gain.size(0) != d || y.size(1) != d || y.size(0) != x.size(0)) TVM_FFI_THROW(ValueError) << "shapes differ";
  for (int64_t i = 0; i < x.size(0); i++) {
    const float *from = static_cast<const float *>(x.data_ptr()) + i * x.stride(0);
    float *to = static_cast<float *>(y.data_ptr()) + i * y.stride(0);
    float squares = 0;
    for (int64_t j = 0; j < d; j++) squares += from[j] * from[j];
    const float by = 1 / std::sqrt(squares / d + static_cast<float>(eps));
    for (int64_t j = 0; j < d; j++) to[j] = from[j] * by * at(gain, j);
  }
}

TVM_FFI_DLL_EXPORT_TYPED_FUNC(rms_norm, rms_norm);

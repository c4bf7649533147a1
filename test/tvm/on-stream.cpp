// The same function for device memory: it takes what lies on a CUDA device, and only on a stream of its caller's. On the stand-in for a
// GPU's driver device memory is memory of the host, so that it can compute at once.
#include "../../examples/plugins/library/rms-norm.cpp"
#include <cstdlib>
#include <tvm/ffi/extra/c_env_api.h>

static void on_stream(ffi::TensorView x, ffi::TensorView gain, ffi::TensorView y, double eps) {
  for (ffi::TensorView t : {x, gain, y})
    if (t.device().device_type != kDLCUDA) TVM_FFI_THROW(ValueError) << "it is not on a CUDA device";
  if (TVMFFIEnvGetStream(kDLCUDA, x.device().device_id) == nullptr) TVM_FFI_THROW(RuntimeError) << "no stream is current";
  rms_norm(x, gain, y, eps);
}

TVM_FFI_DLL_EXPORT_TYPED_FUNC(on_stream, on_stream);

static void crash(ffi::TensorView, ffi::TensorView, ffi::TensorView, double) { std::abort(); }

static void beside(ffi::TensorView x, ffi::TensorView gain, ffi::TensorView y, double eps) {
  rms_norm(x, gain, y, eps);
  static_cast<float *>(y.data_ptr())[y.numel()] = 1;
}

TVM_FFI_DLL_EXPORT_TYPED_FUNC(crash, crash);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(beside, beside);

// How an exported library loads and launches CUDA kernels: entry points of the driver (cuda.h, version 12), looked up at the first launch.

export const driver = `
typedef int Result;
typedef struct { uint32_t id, pad; union { uint32_t cluster[3]; char room[64]; } value; } LaunchAttribute;
typedef struct { uint32_t grid[3], block[3], shared; void *stream; LaunchAttribute *attributes; uint32_t attribute_count; } LaunchConfig;
typedef struct { uint64_t words[16]; } __attribute__((aligned(64))) TensorMap;
static struct {
  Result (*init)(unsigned);
  Result (*library_load)(void **, const void *, void *, void *, unsigned, void *, void *, unsigned);
  Result (*library_kernel)(void **, void *, const char *);
  Result (*kernel_attribute)(int, int, void *, int);
  Result (*device_attribute)(int *, int, int);
  Result (*current_device)(int *);
  Result (*retain_primary)(void **, int);
  Result (*push)(void *);
  Result (*pop)(void **);
  Result (*launch)(const LaunchConfig *, void *, void **, void **);
  Result (*encode)(TensorMap *, int, uint32_t, void *, const uint64_t *, const uint64_t *, const uint32_t *, const uint32_t *, int, int,
                   int, int);
  Result (*alloc)(uint64_t *, size_t);
  Result (*zero)(uint64_t, unsigned char, size_t);
  Result (*capturing)(void *, int *);
  Result (*error_name)(Result, const char **);
} cu;
static const char *const driver_names[] = {
  "cuInit", "cuLibraryLoadData", "cuLibraryGetKernel", "cuKernelSetAttribute", "cuDeviceGetAttribute", "cuCtxGetDevice",
  "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2", "cuLaunchKernelEx", "cuTensorMapEncodeTiled",
  "cuMemAlloc_v2", "cuMemsetD8_v2", "cuStreamIsCapturing", "cuGetErrorName",
};

enum { DEVICES = 32, SPACES = 512, SHARED_BY_DEFAULT = 48 * 1024, PORTABLE_CLUSTER = 8 };
enum { DEVICE_MULTIPROCESSORS = 16, FUNCTION_SHARED = 8, FUNCTION_LARGE_CLUSTER = 14, LAUNCH_CLUSTER = 4, PROMOTION_256 = 3 };

typedef struct {
  const char *name;
  const unsigned char *image;
  uint32_t shared, cluster[3]; /* cluster[0] is 0 where blocks are in none */
  void *kernel;
  uint32_t ready; /* a bit for each device whose limits are raised */
} Kernel;

/* Guards everything below; held for the time of a table look-up, and of a kernel's first launch. */
static volatile int lock_word;
static void lock(void) { while (__atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE)) {} }
static void unlock(void) { __atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE); }

static int driver_state; /* 1: found; -1: there is none */
static void *primary_contexts[DEVICES];
/* Scratch by kernel, device and stream: zeroed when it is made, and left by kernels as it was found. */
static struct { const Kernel *kernel; int device; void *stream; uint64_t address; size_t bytes; } spaces[SPACES];

static int have_driver(Call *call) {
  lock();
  if (!driver_state) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL), **at = (void **)&cu;
    driver_state = library ? 1 : -1;
    for (size_t i = 0; library && i < sizeof driver_names / sizeof *driver_names; i++)
      if (!(at[i] = dlsym(library, driver_names[i]))) driver_state = -1;
    if (driver_state == 1 && cu.init(0)) driver_state = -1;
  }
  unlock();
  if (driver_state < 0) fail(call, "RuntimeError", "there is no CUDA driver of version 12 or newer here, or no device");
  return driver_state > 0;
}

static int ok(Call *call, Result r, const char *what) {
  const char *name = "an error without a name";
  if (!r) return 1;
  cu.error_name(r, &name);
  fail(call, "RuntimeError", "%s: %s", what, name);
  return 0;
}

/* Makes the call's device current where it is not; says whether it has to be left again. */
static int enter(Call *call) {
  int now = -1;
  if (call->failed || !have_driver(call)) return 0;
  if (call->device < 0 || call->device >= DEVICES) return fail(call, "ValueError", "there is no tensor, or none on devices 0 to 31"), 0;
  if (!cu.current_device(&now) && now == call->device) return 0;
  lock();
  void **context = &primary_contexts[call->device];
  const int there = *context || ok(call, cu.retain_primary(context, call->device), "the device's context");
  unlock();
  return there && ok(call, cu.push(*context), "the device's context");
}
static void leave(int entered) {
  void *context;
  if (entered) cu.pop(&context);
}

static int64_t multiprocessors(Call *call) {
  int n = 0;
  if (!call->failed && have_driver(call))
    ok(call, cu.device_attribute(&n, DEVICE_MULTIPROCESSORS, call->device), "multiprocessors of the device");
  return n;
}

/* A TMA descriptor over a buffer; without rows there is none, and nothing is launched. */
static void encode(Call *call, TensorMap *map, int type, void *address, uint32_t axes, const uint64_t *sizes, const uint64_t *strides,
                   const uint32_t *box, int swizzle) {
  static const uint32_t ones[5] = {1, 1, 1, 1, 1};
  for (uint32_t i = 0; i < axes; i++)
    if (!sizes[i]) return;
  if (!call->failed && have_driver(call))
    ok(call, cu.encode(map, type, axes, address, sizes, strides, box, ones, 0, swizzle, PROMOTION_256, 0), "a tensor map");
}

static void *scratch(Call *call, const Kernel *k, void *stream, size_t bytes) {
  int at = 0, capturing = 0;
  while (at < SPACES && spaces[at].kernel &&
         (spaces[at].kernel != k || spaces[at].device != call->device || spaces[at].stream != stream || spaces[at].bytes < bytes)) at++;
  if (at == SPACES) return fail(call, "RuntimeError", "scratch of %d kernels and streams is in use", SPACES);
  if (spaces[at].kernel) return (void *)spaces[at].address;
  cu.capturing(stream, &capturing);
  if (capturing)
    return fail(call, "RuntimeError", "its scratch cannot be made while a stream is captured: launch it once before, on this stream");
  uint64_t address;
  if (!ok(call, cu.alloc(&address, bytes), "scratch") || !ok(call, cu.zero(address, 0, bytes), "scratch")) return 0;
  spaces[at].kernel = k, spaces[at].device = call->device, spaces[at].stream = stream;
  spaces[at].address = address, spaces[at].bytes = bytes;
  return (void *)address;
}

static void prepare(Call *call, Kernel *k) {
  void *library;
  if (!k->kernel && ok(call, cu.library_load(&library, k->image, 0, 0, 0, 0, 0, 0), "the kernel cannot be loaded on this device"))
    ok(call, cu.library_kernel(&k->kernel, library, k->name), k->name);
  if (call->failed || k->ready >> call->device & 1) return;
  if (k->shared > SHARED_BY_DEFAULT) ok(call, cu.kernel_attribute(FUNCTION_SHARED, k->shared, k->kernel, call->device), "shared memory");
  if (k->cluster[0] * k->cluster[1] * k->cluster[2] > PORTABLE_CLUSTER)
    ok(call, cu.kernel_attribute(FUNCTION_LARGE_CLUSTER, 1, k->kernel, call->device), "clusters of more than 8 blocks");
  if (!call->failed) k->ready |= 1u << call->device;
}

/* Launches on the stream that the caller's framework has set. \`space\`: where the address of scratch goes, of kernels that have some. */
static int launch(Call *call, Kernel *k, int64_t x, int64_t y, int64_t z, uint32_t block, void **params, void **space,
                  int64_t space_bytes) {
  if (call->failed) return -1;
  if (!x || !y || !z) return 0;
  const int entered = enter(call);
  if (!call->failed) {
    void *stream = TVMFFIEnvGetStream ? TVMFFIEnvGetStream(DEVICE_CUDA, call->device) : 0;
    LaunchAttribute cluster = {LAUNCH_CLUSTER, 0, {{k->cluster[0], k->cluster[1], k->cluster[2]}}};
    LaunchConfig config = {{x, y, z}, {block, 1, 1}, k->shared, stream, &cluster, k->cluster[0] > 0};
    lock();
    prepare(call, k);
    if (space && !call->failed) *space = scratch(call, k, stream, space_bytes);
    unlock();
    if (!call->failed) ok(call, cu.launch(&config, k->kernel, params, 0), "the launch");
  }
  leave(entered);
  return call->failed ? -1 : 0;
}
`;

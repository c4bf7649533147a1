// The CUDA driver's functions, as far as dsc calls them, on this machine's own memory: launches run at once, one block after another,
// by fibres (cuda-on-host.ts). A "module" is the text "LIBRARY|KERNEL": what host-driver.ts compiled. Fresh memory is full of NaN,
// and fresh pinned memory of whatever. With STREAMS defined launches wait in their stream, which a thread of its own goes through with
// copies of the libraries: ranks that wait for each other go on together, in several processes too, for memory whose handle was given
// is shared. A kernel's trap ends its launch then, and what is asked of the device afterwards fails. Devices are as many as
// CUDA_VISIBLE_DEVICES names, one where it is not set.
#include <dlfcn.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <atomic>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

// Machines that lack something: an old driver, no device, another generation.
#ifndef VERSION
#define VERSION 13000
#endif
#ifndef INIT
#define INIT 0
#endif
#ifndef MAJOR
#define MAJOR 9
#endif

// Defined: an image that begins with a zero is a kernel that does nothing, of any launch, and tensor maps are encoded into nothing.
#ifdef NOTHING
#define TENSOR_MAPS OK
static const int no_sizes[] = {0};
#else
#define TENSOR_MAPS INVALID
#endif

typedef uint64_t u64;
typedef uint32_t u32;
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, NOT_READY = 600, LAUNCH_FAILED = 719 };
// A kernel has ended with a trap.
static std::atomic<bool> broken{false};
static const u64 PAGE = 4096;
static u64 pages(u64 bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }
static std::vector<int> visible() {
  const char* list = getenv("CUDA_VISIBLE_DEVICES");
  std::vector<int> all;
  for (const char* p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : "") all.push_back(atoi(p));
  return list ? all : std::vector<int>{0};
}

typedef void (*Run)(void**, int, int, int);
struct Function { Run run; const int* sizes; std::string library, kernel; };
struct Handle { u64 words[8]; };
struct Event { int pending = 0; };
struct Attribute { u32 id; u32 pad; char value[64]; };
struct Config { u32 grid[3], block[3], shared; u64 stream; const Attribute* attributes; u32 count; };
typedef std::vector<std::function<void()>> Graph;
static Graph* recording = nullptr;
static u64 given = 0;
static const u64 TOTAL = getenv("STANDIN_BYTES") ? strtoull(getenv("STANDIN_BYTES"), nullptr, 10) : 3ull << 30;

#ifdef STREAMS
// Never destroyed: streams wait on them when the process ends.
static std::mutex& lock = *new std::mutex;
static std::condition_variable& moved = *new std::condition_variable;
struct Stream { std::deque<std::function<void()>> work; bool busy = false; };
static void serve(Stream* s) {
  for (std::unique_lock<std::mutex> held(lock);;) {
    moved.wait(held, [=] { return !s->work.empty(); });
    auto f = s->work.front(); s->work.pop_front(); s->busy = true;
    held.unlock(); f(); held.lock();
    s->busy = false; moved.notify_all();
  }
}
static bool idle(u64 s) { return ((Stream*)s)->work.empty() && !((Stream*)s)->busy; }
static int put(u64 s, std::function<void()> f) { { std::lock_guard<std::mutex> held(lock); ((Stream*)s)->work.push_back(f); } moved.notify_all(); return OK; }
// A kernel's variables are those of its library: a stream has a copy.
static void run(const Function* f, void** at, int blocks, int threads, int shared) {
  static thread_local std::map<std::string, void*> copies;
  void*& l = copies[f->library];
  if (!l) {
    const std::string copy = f->library + "." + std::to_string(getpid()) + "." + std::to_string((u64)&copies);
    if (system(("cp " + f->library + " " + copy).c_str()) == 0) l = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
    unlink(copy.c_str());
  }
  if (broken) return;
  *(int*)dlsym(l, "trap_returns") = 1;
  ((Run)dlsym(l, ("run_" + f->kernel).c_str()))(at, blocks, threads, shared);
  if (*(int*)dlsym(l, "trapped")) broken = true;
}
#else
static int put(u64, std::function<void()> f) { f(); return OK; }
static void run(const Function* f, void** at, int blocks, int threads, int shared) { f->run(at, blocks, threads, shared); }
#endif
static int later(u64 stream, std::function<void()> f) { if (!recording) return put(stream, f); recording->push_back(f); return OK; }

extern "C" {
int cuInit(u32) { return INIT; }
int cuDriverGetVersion(int* v) { *v = VERSION; return OK; }
int cuDeviceGetCount(int* n) { *n = (int)visible().size(); return OK; }
int cuDeviceGet(int* d, int i) { *d = i; return i >= 0 && i < (int)visible().size() ? OK : INVALID; }
int cuDeviceGetUuid_v2(char* uuid, int d) { memset(uuid, 0, 16); memcpy(uuid, &visible()[d], 4); return OK; }
int cuDeviceGetName(char* name, int length, int) { snprintf(name, length, "host stand-in"); return OK; }
int cuDeviceGetAttribute(int* v, int id, int) { *v = id == 75 ? MAJOR : id == 16 ? 4 : 0; return OK; }
int cuDevicePrimaryCtxRetain(u64* c, int) { *c = 1; return OK; }
int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
int cuCtxSetCurrent(u64) { return OK; }
int cuCtxGetDevice(int* d) { *d = 0; return OK; }
int cuCtxPushCurrent_v2(u64) { return OK; }
int cuCtxPopCurrent_v2(u64* c) { *c = 1; return OK; }
int cuCtxSynchronize() { return recording ? INVALID : OK; }
int cuGetErrorName(int code, u64* text) { *text = (u64)(code == 100 ? "CUDA_ERROR_NO_DEVICE                                            " : code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY                                        " : "CUDA_ERROR_OF_THE_STAND_IN                                      "); return OK; }
int cuMemGetInfo_v2(u64* free, u64* total) { *free = TOTAL - given; *total = TOTAL; return OK; }
int cuMemAlloc_v2(u64* at, u64 bytes) {
  if (recording) return INVALID;
  if (given + bytes > TOTAL) return OUT_OF_MEMORY;
  u64* p = (u64*)aligned_alloc(PAGE, PAGE + pages(bytes));
  p[0] = bytes;  // before the block, for freeing
  memset((char*)p + PAGE, 0xff, bytes);
  given += bytes;
  *at = (u64)p + PAGE;
  return OK;
}
int cuMemFree_v2(u64 at) { u64* p = (u64*)(at - PAGE); given -= p[0]; free(p); return OK; }
int cuMemHostAlloc(u64* at, u64 bytes, u32) { bytes = (bytes + 4095) / 4096 * 4096; *at = (u64)aligned_alloc(4096, bytes); memset((void*)*at, 0xa5, bytes); return OK; }
int cuMemFreeHost(u64 at) { free((void*)at); return OK; }
int cuMemcpyHtoD_v2(u64 to, const void* from, u64 n) { memcpy((void*)to, from, n); return OK; }
int cuMemcpyDtoH_v2(void* to, u64 from, u64 n) { memcpy(to, (void*)from, n); return OK; }
int cuMemcpyHtoDAsync_v2(u64 to, u64 from, u64 n, u64 s) { return later(s, [=] { memcpy((void*)to, (void*)from, n); }); }
int cuMemcpyDtoHAsync_v2(u64 to, u64 from, u64 n, u64 s) { return later(s, [=] { memcpy((void*)to, (void*)from, n); }); }
int cuMemcpyDtoDAsync_v2(u64 to, u64 from, u64 n, u64 s) { return later(s, [=] { memcpy((void*)to, (void*)from, n); }); }
int cuMemsetD8_v2(u64 at, u32 v, u64 n) { memset((void*)at, (int)v, n); return OK; }
int cuMemsetD8Async(u64 at, u32 v, u64 n, u64 s) { return later(s, [=] { memset((void*)at, (int)v, n); }); }
int cuModuleLoadData(u64* module, const char* image) {
#ifdef NOTHING
  if (image[0] == 0) { *module = (u64) new Function{[](void**, int, int, int) {}, no_sizes, "", ""}; return OK; }
#endif
  std::string text(image);
  size_t bar = text.find('|');
  void* library = bar == std::string::npos ? nullptr : dlopen(text.substr(0, bar).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) { fprintf(stderr, "%s\n", dlerror()); return INVALID; }
  std::string kernel = text.substr(bar + 1);
  Function* f = new Function{(Run)dlsym(library, ("run_" + kernel).c_str()), (const int*)dlsym(library, ("sizes_" + kernel).c_str()), text.substr(0, bar), kernel};
  *module = (u64)f;
  return f->run ? OK : NOT_FOUND;
}
int cuModuleUnload(u64) { return OK; }
int cuModuleGetFunction(u64* f, u64 module, const char*) { *f = module; return OK; }
int cuLibraryLoadData(u64* library, const char* image, void*, void*, u32, void*, void*, u32) { return cuModuleLoadData(library, image); }
int cuLibraryGetKernel(u64* f, u64 library, const char*) { *f = library; return OK; }
int cuKernelSetAttribute(int, int, u64, int) { return OK; }
// Texts of the stand-in keep nothing for a reader.
int cuModuleGetGlobal_v2(u64*, u64*, u64, const char*) { return INVALID; }
int cuFuncSetAttribute(u64, int, int) { return OK; }
int cuFuncGetAttribute(int* v, int, u64) { *v = 0; return OK; }
int cuStreamIsCapturing(u64, int* is) { *is = recording != nullptr; return OK; }
int cuStreamWaitEvent(u64, u64, u32) { return OK; }
#ifdef STREAMS
int cuStreamCreate(u64* s, u32) { Stream* made = new Stream; std::thread(serve, made).detach(); *s = (u64)made; return OK; }
int cuStreamSynchronize(u64 s) { if (recording) return INVALID; std::unique_lock<std::mutex> held(lock); moved.wait(held, [=] { return idle(s); }); return broken ? LAUNCH_FAILED : OK; }
int cuStreamQuery(u64 s) { std::lock_guard<std::mutex> held(lock); return broken ? LAUNCH_FAILED : idle(s) ? OK : NOT_READY; }
#else
int cuStreamCreate(u64* s, u32) { *s = 1; return OK; }
int cuStreamSynchronize(u64) { return recording ? INVALID : OK; }
int cuStreamQuery(u64) { return OK; }
#endif
int cuStreamBeginCapture_v2(u64, int) { recording = new Graph; return OK; }
int cuStreamEndCapture(u64, u64* g) { *g = (u64)recording; recording = nullptr; return OK; }
int cuGraphInstantiateWithFlags(u64* exec, u64 g, u64) { *exec = (u64) new Graph(*(Graph*)g); return OK; }
int cuGraphLaunch(u64 exec, u64 s) { return put(s, [=] { for (auto& f : *(Graph*)exec) f(); }); }
int cuGraphExecDestroy(u64 g) { delete (Graph*)g; return OK; }
int cuGraphDestroy(u64 g) { delete (Graph*)g; return OK; }
int cuEventCreate(u64* e, u32) { *e = (u64) new Event; return OK; }
int cuEventRecord(u64 e, u64 s) { __atomic_add_fetch(&((Event*)e)->pending, 1, __ATOMIC_SEQ_CST); return put(s, [=] { __atomic_sub_fetch(&((Event*)e)->pending, 1, __ATOMIC_SEQ_CST); }); }
int cuEventQuery(u64 e) { return broken ? LAUNCH_FAILED : __atomic_load_n(&((Event*)e)->pending, __ATOMIC_SEQ_CST) ? NOT_READY : OK; }
int cuEventSynchronize(u64 e) { int r; while ((r = cuEventQuery(e)) == NOT_READY) usleep(50); return r; }
int cuEventElapsedTime(float* ms, u64, u64) { *ms = 0.001f; return OK; }
int cuEventDestroy_v2(u64 e) { delete (Event*)e; return OK; }
// A block whose handle is given moves to a file without a name, which other processes map: it stays where it is, and whole.
static std::map<u64, u64> shared_sizes;
int cuIpcGetMemHandle(void* handle, u64 at) {
  static std::map<u64, int> files;
  const u64 bytes = pages(*(u64*)(at - PAGE));
  if (!files.count(at)) {
    const int file = memfd_create("device memory", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, bytes)) return INVALID;
    void* copy = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    memcpy(copy, (void*)at, bytes);
    munmap(copy, bytes);
    if (mmap((void*)at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) return INVALID;
    files[at] = file;
  }
  memset(handle, 0, 64);
  const u64 words[] = {(u64)getpid(), (u64)files[at], bytes};
  memcpy(handle, words, sizeof words);
  return OK;
}
int cuIpcOpenMemHandle_v2(u64* at, Handle h, u32) {
  const std::string name = "/proc/" + std::to_string(h.words[0]) + "/fd/" + std::to_string(h.words[1]);
  const int file = open(name.c_str(), O_RDWR);
  void* p = file < 0 ? MAP_FAILED : mmap(nullptr, h.words[2], PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file >= 0) close(file);
  if (p == MAP_FAILED) return INVALID;
  shared_sizes[*at = (u64)p] = h.words[2];
  return OK;
}
int cuIpcCloseMemHandle(u64 at) { return munmap((void*)at, shared_sizes[at]) ? INVALID : OK; }
int cuTensorMapEncodeTiled(void*, int, u32, u64, void*, void*, void*, void*, int, int, int, int) { return TENSOR_MAPS; }
// What a library does behind other work of a stream, and in a graph.
void host_later(u64 stream, void (*f)(void*), void* of) { later(stream, [=] { f(of); }); }
// Launches so far that might begin before the one before them had ended, and all launches.
static int dependents = 0, launches = 0;
int host_dependents() { return dependents; }
int host_launches() { return launches; }
int cuLaunchKernelEx(const Config* c, u64 function, void** params, void*) {
  launches++;
  for (u32 i = 0; i < c->count; i++) dependents += c->attributes[i].id == 6;
  Function* f = (Function*)function;
#ifndef NOTHING
  if (c->grid[1] != 1 || c->grid[2] != 1) return INVALID;
#endif
  int blocks = (int)c->grid[0], threads = (int)c->block[0], shared = (int)c->shared;
#ifndef STREAMS
  if (!recording) { f->run(params, blocks, threads, shared); return OK; }
#endif
  int count = f->sizes[0], bytes = 0;
  for (int i = 0; i < count; i++) bytes += (f->sizes[1 + i] + 7) / 8 * 8;
  char* kept = (char*)malloc(bytes + 8);
  void** at = (void**)malloc(count * sizeof(void*) + 8);
  for (int i = 0, o = 0; i < count; o += (f->sizes[1 + i] + 7) / 8 * 8, i++) { at[i] = kept + o; memcpy(at[i], params[i], f->sizes[1 + i]); }
  return later(c->stream, [=] { run(f, at, blocks, threads, shared); });
}
}

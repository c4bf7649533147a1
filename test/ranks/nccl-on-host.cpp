// A stand-in for NCCL: ranks are processes of one machine, their memory is the host's, and bytes move through a shared file whose name
// is in the unique id. Calls block, but for the making of a communicator, which goes on while it is looked at, and for those on a stream
// of the stand-in for the driver, which come behind what the stream has to do.
// STANDIN_VERSION, STANDIN_FAIL (a call that fails) and STANDIN_ASYNC (looks after which the communicator is broken) make it another.
#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

enum { Success = 0, Internal = 3, Argument = 4, Remote = 6, InProgress = 7 };
struct Id { char internal[128]; };
struct Config { size_t size; unsigned magic, version; int blocking, cga, minCtas, maxCtas; const char* net; int split; };
constexpr int RANKS = 8;
constexpr size_t SLOT = 1 << 16;
struct Shared { std::atomic<int> joined, arrived, turn, gone; char slots[RANKS][SLOT]; };
struct Comm { Shared* s; int rank, ranks, looks; bool broken; };
struct Work { int kind; const char* from; char* to; size_t count; int type, peer; Comm* c; };
static char last[256];
static std::vector<Work> group;
static int depth = 0;
static bool fails(const char* call) {
  const char* f = getenv("STANDIN_FAIL");
  if (!f || strcmp(f, call)) return false;
  snprintf(last, sizeof last, "the stand-in was told to fail in %s", call);
  return true;
}
static size_t bytesOf(int type) { return type == 9 ? 2 : 4; }
static float f32(uint16_t v) { uint32_t u = uint32_t(v) << 16; float f; memcpy(&f, &u, 4); return f; }
static uint16_t bf16(float f) { uint32_t u; memcpy(&u, &f, 4); return (u + 0x7fff + ((u >> 16) & 1)) >> 16; }
/** All ranks, or nothing once one is gone. */
static bool meet(Comm* c) {
  const int turn = c->s->turn.load();
  if (c->s->arrived.fetch_add(1) + 1 == c->ranks) { c->s->arrived = 0; c->s->turn++; }
  else for (int i = 0; c->s->turn.load() == turn; i++) { if (c->s->gone || i > 200000) return false; usleep(50); }
  return true;
}
static int sum(const Work& w, size_t from, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (w.type == 7) {
      float t = 0;
      for (int r = 0; r < w.c->ranks; r++) t += ((float*)w.c->s->slots[r])[from + i];
      ((float*)w.to)[i] = t;
    } else if (w.type == 9) {
      float t = 0;
      for (int r = 0; r < w.c->ranks; r++) t += f32(((uint16_t*)w.c->s->slots[r])[from + i]);
      ((uint16_t*)w.to)[i] = bf16(t);
    } else {
      int t = 0;
      for (int r = 0; r < w.c->ranks; r++) t += ((int*)w.c->s->slots[r])[from + i];
      ((int*)w.to)[i] = t;
    }
  }
  return Success;
}
static int collective(const Work& w) {
  Comm* c = w.c;
  const size_t b = bytesOf(w.type), mine = w.count * b, brought = w.kind == 2 ? mine * c->ranks : mine;
  if (brought > SLOT) return Argument;
  memcpy(c->s->slots[c->rank], w.from, brought);
  if (!meet(c)) return Remote;
  if (w.kind == 0) sum(w, 0, w.count);
  else if (w.kind == 2) sum(w, c->rank * w.count, w.count);
  else for (int r = 0; r < c->ranks; r++) memcpy(w.to + r * mine, c->s->slots[r], mine);
  return meet(c) ? Success : Remote;
}
static int carry(const std::vector<Work>& all) {
  Comm* mail = nullptr;
  size_t part = 0;
  for (const Work& w : all) {
    if (w.kind < 3) { if (int e = collective(w)) return e; continue; }
    mail = w.c;
    part = w.count * bytesOf(w.type);
    if (w.kind == 3) memcpy(w.c->s->slots[w.c->rank] + w.peer * part, w.from, part);
  }
  if (!mail) return Success;
  if (!meet(mail)) return Remote;
  for (const Work& w : all) if (w.kind == 4) memcpy(w.to, w.c->s->slots[w.peer] + w.c->rank * part, part);
  return meet(mail) ? Success : Remote;
}
typedef void (*Later)(uint64_t, void (*)(void*), void*);
static Later later() {
  static void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return driver ? (Later)dlsym(driver, "host_later") : nullptr;
}
static uint64_t stream = 0;
/** Kept as long as the process: a graph does it again and again. */
static void carry_kept(void* all) {
  auto& kept = *(std::vector<Work>*)all;
  if (carry(kept)) kept[0].c->broken = true;
}
static int flush() {
  auto all = new std::vector<Work>;
  all->swap(group);
  if (stream && later()) return later()(stream, carry_kept, all), Success;
  return carry(*all);
}
static int note(const char* call, Work w, void* on) {
  if (fails(call)) return Internal;
  group.push_back(w);
  stream = (uint64_t)on;
  return depth ? Success : flush();
}
extern "C" {
int ncclGetVersion(int* v) { const char* e = getenv("STANDIN_VERSION"); *v = e ? atoi(e) : 22803; return Success; }
int ncclGetUniqueId(Id* id) {
  if (fails("ncclGetUniqueId")) return Internal;
  memset(id, 0x5a, sizeof *id);
  snprintf(id->internal, sizeof id->internal, "%s/nccl-XXXXXX", getenv("STANDIN_FOLDER"));
  const int fd = mkstemp(id->internal);
  if (fd < 0 || ftruncate(fd, sizeof(Shared))) return Internal;
  close(fd);
  return Success;
}
int ncclCommInitRankConfig(Comm** comm, int ranks, Id id, int rank, Config* g) {
  if (fails("ncclCommInitRankConfig")) return Internal;
  if (g->size != 48 || g->magic != 0xcafebeef || g->version != 21800 || g->blocking != 0 || g->cga != INT_MIN ||
      g->minCtas != INT_MIN || g->maxCtas != INT_MIN || g->net || g->split != INT_MIN || id.internal[127] != 0x5a)
    return snprintf(last, sizeof last, "a configuration or an id that is none"), Argument;
  const int fd = open(id.internal, O_RDWR);
  if (fd < 0) return Internal;
  Shared* s = (Shared*)mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  *comm = new Comm{s, rank, ranks, 0, false};
  s->joined++;
  return InProgress;
}
int ncclCommGetAsyncError(Comm* c, int* e) {
  const char* after = getenv("STANDIN_ASYNC");
  c->looks++;
  if (after && c->looks > atoi(after)) snprintf(last, sizeof last, "a peer has hung up"), c->broken = true;
  *e = c->broken || c->s->gone ? Remote : c->looks > 1 && c->s->joined == c->ranks ? Success : InProgress;
  return Success;
}
int ncclAllReduce(const char* f, char* t, size_t n, int type, int op, Comm* c, void* on) { return op ? Argument : note("ncclAllReduce", {0, f, t, n, type, 0, c}, on); }
int ncclAllGather(const char* f, char* t, size_t n, int type, Comm* c, void* on) { return note("ncclAllGather", {1, f, t, n, type, 0, c}, on); }
int ncclReduceScatter(const char* f, char* t, size_t n, int type, int op, Comm* c, void* on) { return op ? Argument : note("ncclReduceScatter", {2, f, t, n, type, 0, c}, on); }
int ncclSend(const char* f, size_t n, int type, int peer, Comm* c, void* on) { return note("ncclSend", {3, f, nullptr, n, type, peer, c}, on); }
int ncclRecv(char* t, size_t n, int type, int peer, Comm* c, void* on) { return note("ncclRecv", {4, nullptr, t, n, type, peer, c}, on); }
int ncclGroupStart() { depth++; return Success; }
int ncclGroupEnd() { return --depth ? Success : flush(); }
int ncclCommFinalize(Comm* c) { return meet(c) ? Success : Remote; }
int ncclCommDestroy(Comm* c) { delete c; return Success; }
int ncclCommAbort(Comm* c) { c->s->gone = 1; return Success; }
const char* ncclGetErrorString(int e) { return e == Internal ? "internal error" : e == Argument ? "invalid argument" : e == Remote ? "remote process exited or there was a network error" : "in progress"; }
const char* ncclGetLastError(Comm*) { return last; }
}

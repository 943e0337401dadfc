/* Initialisation, clock and device handles. The environment variable NVML_SIMULATOR_SCRIPT names the script. */
#include "api.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

machine sim;
int started;
static long long virtual_ns = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* For tests in the same process: use this time, in nanoseconds, instead of CLOCK_MONOTONIC; a negative value ends it. */
EXPORT void nvmlSimulatorSetTime(long long ns) { virtual_ns = ns; }

long long now_ns(void)
{
    struct timespec t;
    if (virtual_ns >= 0) return virtual_ns;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

double now(void) { return (double)(now_ns() - sim.epoch_ns) * 1e-9; }

static int load(void)
{
    const char *path = getenv("NVML_SIMULATOR_SCRIPT");
    int wrong = path ? read_script(path, &sim) : -1;
    if (wrong) {
        fprintf(stderr, "simulated NVML: %s, line %d: not understood\n", path ? path : "no script", wrong);
        return 12;
    }
    if (!sim.epoch_ns) sim.epoch_ns = now_ns();
    return sim.init_code;
}

EXPORT int nvmlInitWithFlags(unsigned flags)
{
    int code = OK;
    (void)flags;
    pthread_mutex_lock(&lock);
    if (!started) code = load();
    if (code == OK) started++;
    pthread_mutex_unlock(&lock);
    return code;
}
EXPORT int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT int nvmlInit(void) { return nvmlInitWithFlags(0); }
EXPORT int nvmlShutdown(void)
{
    if (!started) return UNINITIALIZED;
    started--;
    return OK;
}

EXPORT const char *nvmlErrorString(int code)
{
    static const char *names[] = {"Success", "Uninitialized", "Invalid Argument", "Not Supported", "Insufficient Permissions",
        "Already Initialized", "Not Found", "Insufficient Size", "Insufficient External Power", "Driver Not Loaded", "Timeout",
        "Interrupt Request Issue", "NVML Shared Library Not Found", "Function Not Found", "Corrupted infoROM", "GPU is lost",
        "GPU requires restart", "The operating system has blocked the request.", "RM has detected an NVML/RM version mismatch."};
    return code >= 0 && code < (int)(sizeof names / sizeof *names) ? names[code] : "Unknown Error";
}

int put(char *into, unsigned length, const char *text)
{
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    strcpy(into, text);
    return OK;
}

EXPORT int nvmlSystemGetDriverVersion(char *into, unsigned length) { return put(into, length, sim.driver); }
EXPORT int nvmlSystemGetNVMLVersion(char *into, unsigned length) { return put(into, length, "12.550.54.15"); }
EXPORT int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12040; return OK; }
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return OK; }
EXPORT int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = (unsigned)sim.gpu_count;
    return started ? OK : UNINITIALIZED;
}
EXPORT int nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

/* Board of a handle, which may be that of an instance. */
gpu *board_of(device d)
{
    for (int i = 0; started && i < sim.gpu_count; i++)
        if ((char *)d >= (char *)&sim.gpus[i] && (char *)d < (char *)&sim.gpus[i + 1]) return &sim.gpus[i];
    return NULL;
}

instance *instance_of(device d)
{
    gpu *g = board_of(d);
    return g && d != (device)g ? (instance *)d : NULL;
}

int ask(device d, gpu **g, int measuring)
{
    if (!started) return UNINITIALIZED;
    if (!(*g = board_of(d))) return INVALID_ARGUMENT;
    if (measuring && (*g)->latency > 0) {
        struct timespec t = {(time_t)(*g)->latency, (long)(((*g)->latency - (double)(time_t)(*g)->latency) * 1e9)};
        nanosleep(&t, NULL);
    }
    return fault_at(*g, now(), measuring);
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *d)
{
    gpu *g;
    if (!started) return UNINITIALIZED;
    if ((int)index >= sim.gpu_count) return INVALID_ARGUMENT;
    *d = &sim.gpus[index];
    return ask(*d, &g, 0);
}
EXPORT int nvmlDeviceGetHandleByIndex(unsigned index, device *d) { return nvmlDeviceGetHandleByIndex_v2(index, d); }

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, device *d)
{
    gpu *g;
    if (!started) return UNINITIALIZED;
    for (int i = 0; i < sim.gpu_count; i++) {
        if (!strcmp(uuid, sim.gpus[i].uuid)) return *d = &sim.gpus[i], ask(*d, &g, 0);
        for (int j = 0; j < sim.gpus[i].instance_count; j++)
            if (!strcmp(uuid, sim.gpus[i].instances[j].uuid)) return *d = &sim.gpus[i].instances[j], OK;
    }
    return NOT_FOUND;
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, device *d)
{
    for (int i = 0; started && i < sim.gpu_count; i++)
        if (!strcasecmp(bus, sim.gpus[i].bus)) return *d = &sim.gpus[i], OK;
    return started ? NOT_FOUND : UNINITIALIZED;
}

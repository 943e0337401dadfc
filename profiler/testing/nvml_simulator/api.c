/* The nvml symbols, with the signatures of NVIDIA's nvml.h. The script is named by NVML_SIMULATOR_SCRIPT. */
#include "simulator.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

typedef void *device;
typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } value;
typedef struct { unsigned field, scope; long long timestamp, latency_us; int type, result; value value; } field_value;
typedef struct { unsigned long long timestamp; value value; } sample;
typedef struct { char legacy[16]; unsigned domain, bus, device, device_id, subsystem_id; char id[32]; } pci_info;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } process;

static machine sim;
static int started;
static long long virtual_ns = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* For tests in the same process: show this time, in nanoseconds, in place of CLOCK_MONOTONIC; below 0 ends it. */
EXPORT void nvmlSimulatorSetTime(long long ns) { virtual_ns = ns; }

static long long now_ns(void)
{
    struct timespec t;
    if (virtual_ns >= 0) return virtual_ns;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static double now(void) { return (double)(now_ns() - sim.epoch_ns) * 1e-9; }

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

static int put(char *into, unsigned length, const char *text)
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

/* The board of a handle, which is a board's or one of its instances'. */
static gpu *board_of(device d)
{
    for (int i = 0; started && i < sim.gpu_count; i++)
        if ((char *)d >= (char *)&sim.gpus[i] && (char *)d < (char *)&sim.gpus[i + 1]) return &sim.gpus[i];
    return NULL;
}

static instance *instance_of(device d)
{
    gpu *g = board_of(d);
    return g && d != (device)g ? (instance *)d : NULL;
}

/* Finds the board and answers its faults; used at the head of every question to a device. */
static int ask(device d, gpu **g, int measuring)
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

#define ANSWER(name, type, expression) \
    EXPORT int name(device d, type *out) { gpu *g; int code = ask(d, &g, 0); if (code == OK) *out = (expression); return code; }
ANSWER(nvmlDeviceGetIndex, unsigned, (unsigned)(g - sim.gpus))
ANSWER(nvmlDeviceGetMinorNumber, unsigned, (unsigned)(g - sim.gpus))
ANSWER(nvmlDeviceGetArchitecture, unsigned, g->architecture)
ANSWER(nvmlDeviceGetNumGpuCores, unsigned, g->cores)
ANSWER(nvmlDeviceGetMaxMigDeviceCount, unsigned, g->instance_count ? MAX_INSTANCES : 0)
ANSWER(nvmlDeviceIsMigDeviceHandle, unsigned, instance_of(d) != NULL)
ANSWER(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, device, (device)g)
ANSWER(nvmlDeviceGetPowerManagementLimit, unsigned, 700000)
ANSWER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, 700000)
ANSWER(nvmlDeviceGetEnforcedPowerLimit, unsigned, 700000)
ANSWER(nvmlDeviceGetComputeMode, int, 0)
ANSWER(nvmlDeviceGetPersistenceMode, int, 1)
ANSWER(nvmlDeviceGetPerformanceState, int, 0)
ANSWER(nvmlDeviceGetUtilizationRates, utilization, ((utilization){90, 40}))
ANSWER(nvmlDeviceGetMemoryInfo, memory, ((memory){g->memory_bytes, g->memory_bytes / 2, g->memory_bytes - g->memory_bytes / 2}))

EXPORT int nvmlDeviceGetName(device d, char *into, unsigned length)
{
    gpu *g;
    int code = ask(d, &g, 0);
    return code == OK ? put(into, length, g->name) : code;
}

EXPORT int nvmlDeviceGetUUID(device d, char *into, unsigned length)
{
    gpu *g;
    int code = ask(d, &g, 0);
    instance *part = code == OK ? instance_of(d) : NULL;
    return code == OK ? put(into, length, part ? part->uuid : g->uuid) : code;
}

EXPORT int nvmlDeviceGetPciInfo_v3(device d, pci_info *info)
{
    gpu *g;
    int code = ask(d, &g, 0);
    if (code != OK) return code;
    memset(info, 0, sizeof *info);
    snprintf(info->id, sizeof info->id, "%.31s", g->bus);
    snprintf(info->legacy, sizeof info->legacy, "%.12s", strlen(g->bus) > 12 ? g->bus + 4 : g->bus);
    sscanf(g->bus, "%x:%x:%x", &info->domain, &info->bus, &info->device);
    return OK;
}
EXPORT int nvmlDeviceGetPciInfo_v2(device d, pci_info *info) { return nvmlDeviceGetPciInfo_v3(d, info); }
EXPORT int nvmlDeviceGetPciInfo(device d, pci_info *info) { return nvmlDeviceGetPciInfo_v3(d, info); }

EXPORT int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor)
{
    gpu *g;
    int code = ask(d, &g, 0);
    if (code == OK) *major = g->major, *minor = g->minor;
    return code;
}

EXPORT int nvmlDeviceGetMaxClockInfo(device d, int kind, unsigned *mhz)
{
    gpu *g;
    int code = ask(d, &g, 0);
    (void)kind;
    if (code == OK) *mhz = g->clock_mhz;
    return code;
}
EXPORT int nvmlDeviceGetClockInfo(device d, int kind, unsigned *mhz) { return nvmlDeviceGetMaxClockInfo(d, kind, mhz); }

EXPORT int nvmlDeviceGetTemperature(device d, int sensor, unsigned *celsius)
{
    gpu *g;
    int code = ask(d, &g, 0);
    (void)sensor;
    if (code == OK) *celsius = 50;
    return code;
}

EXPORT int nvmlDeviceGetPowerManagementLimitConstraints(device d, unsigned *low, unsigned *high)
{
    gpu *g;
    int code = ask(d, &g, 0);
    if (code == OK) *low = 200000, *high = 700000;
    return code;
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(device d, memory_v2 *info)
{
    gpu *g;
    int code = ask(d, &g, 0);
    if (code != OK) return code;
    info->total = g->memory_bytes;
    info->reserved = 0;
    info->used = g->memory_bytes / 2;
    info->free = info->total - info->used;
    return OK;
}

EXPORT int nvmlDeviceGetMigMode(device d, unsigned *current, unsigned *pending)
{
    gpu *g;
    int code = ask(d, &g, 0);
    if (code == OK && g->architecture < 7) return NOT_SUPPORTED;
    if (code == OK) *current = *pending = g->instance_count > 0;
    return code;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned index, device *out)
{
    gpu *g;
    int code = ask(d, &g, 0);
    if (code == OK && (int)index >= g->instance_count) return NOT_FOUND;
    if (code == OK) *out = &g->instances[index];
    return code;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned *count, process *list)
{
    gpu *g;
    int code = ask(d, &g, 0);
    if (code != OK) return code;
    unsigned room = *count;
    *count = (unsigned)g->process_count;
    if (room < *count) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++)
        list[i] = (process){g->process_pids[i], g->process_bytes[i], 0xffffffffu, 0xffffffffu};
    return OK;
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(device d, unsigned *count, process *list)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(d, count, list);
}
EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(device d, unsigned *count, process *list)
{
    gpu *g;
    (void)list;
    *count = 0;
    return ask(d, &g, 0);
}

/* Instances have no meter: what measures must be asked of the board. */
static int measure(device d, gpu **g)
{
    int code = ask(d, g, 1);
    return code == OK && instance_of(d) ? NOT_SUPPORTED : code;
}

static unsigned long long milli(double amount) { return (unsigned long long)(amount * 1e3 + 1e-6); }

static unsigned long long counter_milli(gpu *g)
{
    pthread_mutex_lock(&lock);
    unsigned long long shown = milli(counter_reading(g, now()));
    pthread_mutex_unlock(&lock);
    return shown;
}

EXPORT int nvmlDeviceGetTotalEnergyConsumption(device d, unsigned long long *mj)
{
    gpu *g;
    int code = measure(d, &g);
    if (code == OK && g->counter == COUNTER_NONE) return NOT_SUPPORTED;
    if (code == OK) *mj = counter_milli(g);
    return code;
}

EXPORT int nvmlDeviceGetPowerUsage(device d, unsigned *mw)
{
    gpu *g;
    int code = measure(d, &g);
    if (code == OK && g->usage == POWER_NONE) return NOT_SUPPORTED;
    if (code == OK) *mw = (unsigned)milli(power_reading(g, now(), g->usage));
    return code;
}

static void answer_field(gpu *g, field_value *f)
{
    f->timestamp = now_ns() / 1000;
    f->latency_us = 1;
    f->result = OK;
    f->type = 1;
    f->value.ull = 0;
    if (f->field == 83 && g->has_energy_field && g->counter != COUNTER_NONE) {
        f->type = 3;
        f->value.ull = counter_milli(g);
    } else if (f->field == 185 && g->has_power_fields) {
        f->value.ui = (unsigned)milli(power_reading(g, now(), POWER_AVERAGE));
    } else if (f->field == 186 && g->has_power_fields) {
        f->value.ui = (unsigned)milli(power_reading(g, now(), POWER_INSTANT) + (f->scope == 1 ? g->module_watts : 0));
    } else {
        f->result = NOT_SUPPORTED;
    }
}

EXPORT int nvmlDeviceGetFieldValues(device d, int count, field_value *values)
{
    gpu *g;
    int code = measure(d, &g);
    for (int i = 0; code == OK && i < count; i++) answer_field(g, &values[i]);
    return code;
}

/* The last readings of the instantaneous power, stamped with microseconds of CLOCK_MONOTONIC. */
EXPORT int nvmlDeviceGetSamples(device d, int kind, unsigned long long after, int *type, unsigned *count, sample *list)
{
    gpu *g;
    int code = measure(d, &g);
    if (code == OK && (kind != 0 || g->update <= 0)) return NOT_SUPPORTED;
    if (code != OK) return code;
    unsigned room = list ? *count : 0, found = 0;
    for (int back = 119; back >= 0; back--) {
        double at = now() - back * g->update;
        unsigned long long stamp = (unsigned long long)(sim.epoch_ns / 1000 + (long long)(at * 1e6));
        if (at < 0 || stamp <= after) continue;
        if (found < room) list[found] = (sample){stamp, {.ui = (unsigned)milli(power_reading(g, at, POWER_INSTANT))}};
        found++;
    }
    *type = 1;
    *count = list && found > room ? room : found;
    return OK;
}

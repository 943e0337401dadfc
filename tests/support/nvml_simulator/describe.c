/* Queries of device properties. */
#include "api.h"

#include <stdio.h>
#include <string.h>

typedef struct { char legacy[16]; unsigned domain, bus, device, device_id, subsystem_id; char id[32]; } pci_info;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } process;

#define ANSWER(name, type, expression) \
    EXPORT int name(device d, type *out) { gpu *g; int code = ask(d, &g, 0); if (code == OK) *out = (expression); return code; }
ANSWER(nvmlDeviceGetIndex, unsigned, (unsigned)(g - sim.gpus))
ANSWER(nvmlDeviceGetMinorNumber, unsigned, (unsigned)(g - sim.gpus))
ANSWER(nvmlDeviceGetArchitecture, unsigned, g->architecture)
ANSWER(nvmlDeviceGetNumGpuCores, unsigned, g->cores)
ANSWER(nvmlDeviceGetMaxMigDeviceCount, unsigned, g->instance_count ? MAX_INSTANCES : 0)
ANSWER(nvmlDeviceIsMigDeviceHandle, unsigned, instance_of(d) != NULL)
ANSWER(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, device, (device)g)
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

EXPORT int nvmlDeviceGetTemperature(device d, int sensor, unsigned *celsius)
{
    gpu *g;
    int code = ask(d, &g, 0);
    (void)sensor;
    if (code == OK) *celsius = 50;
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

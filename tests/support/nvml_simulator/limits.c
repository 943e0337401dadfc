/* Power limits, clocks and throttle reasons.
 *
 * A limit that a program sets is kept in a file beside the script, so that it outlives the program as it does on a board. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

enum { NO_PERMISSION = 4, DEFAULT_MILLIWATTS = 700000, LEAST_MILLIWATTS = 200000, SW_POWER_CAP = 0x4, THERMAL = 0x60 };
enum { CLOCK_SM = 1, POLICY_POWER = 0, POLICY_THERMAL = 1 };

typedef struct { unsigned long long reference_us, violation_ns; } violation;

double course_at(const course *c, double seconds, double initial)
{
    double value = initial;
    for (int i = 0; i < c->count && c->at[i] <= seconds; i++) value = c->value[i];
    return value;
}

double course_seconds(const course *c, double seconds, unsigned bits)
{
    double sum = 0;
    for (int i = 0; i < c->count && c->at[i] < seconds; i++) {
        double end = i + 1 < c->count && c->at[i + 1] < seconds ? c->at[i + 1] : seconds;
        if ((unsigned)c->value[i] & bits) sum += end - c->at[i];
    }
    return sum;
}

static void limit_path(const gpu *g, char *into, size_t room)
{
    snprintf(into, room, "%s.limit.%d", getenv("NVML_SIMULATOR_SCRIPT"), (int)(g - sim.gpus));
}

static unsigned enforced(const gpu *g)
{
    char path[4096];
    unsigned milliwatts = 0;
    limit_path(g, path, sizeof path);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%u", &milliwatts) != 1) milliwatts = 0;
        fclose(file);
    }
    return milliwatts ? milliwatts : (unsigned)(course_at(&g->limits, now(), DEFAULT_MILLIWATTS * 1e-3) * 1e3 + .5);
}

static int states(device d, gpu **g)
{
    int code = ask(d, g, 0);
    return code == OK && (!(*g)->has_states || instance_of(d)) ? NOT_SUPPORTED : code;
}

#define STATE(name, type, expression) \
    EXPORT int name(device d, type *out) { gpu *g; int code = states(d, &g); if (code == OK) *out = (expression); return code; }
STATE(nvmlDeviceGetPowerManagementLimit, unsigned, enforced(g))
STATE(nvmlDeviceGetEnforcedPowerLimit, unsigned, enforced(g))
STATE(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, DEFAULT_MILLIWATTS)
STATE(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, (unsigned long long)course_at(&g->throttles, now(), 0))
STATE(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, (unsigned long long)course_at(&g->throttles, now(), 0))

EXPORT int nvmlDeviceGetPowerManagementLimitConstraints(device d, unsigned *low, unsigned *high)
{
    gpu *g;
    int code = states(d, &g);
    if (code == OK) *low = LEAST_MILLIWATTS, *high = DEFAULT_MILLIWATTS;
    return code;
}

EXPORT int nvmlDeviceSetPowerManagementLimit(device d, unsigned milliwatts)
{
    gpu *g;
    char path[4096];
    int code = states(d, &g);
    if (code != OK) return code;
    if (!g->is_privileged) return NO_PERMISSION;
    if (milliwatts < LEAST_MILLIWATTS || milliwatts > DEFAULT_MILLIWATTS) return INVALID_ARGUMENT;
    limit_path(g, path, sizeof path);
    FILE *file = fopen(path, "w");
    if (!file) return NO_PERMISSION;
    fprintf(file, "%u\n", milliwatts);
    fclose(file);
    return OK;
}

EXPORT int nvmlDeviceGetClockInfo(device d, int kind, unsigned *mhz)
{
    gpu *g;
    int code = states(d, &g);
    if (code == OK) *mhz = kind == CLOCK_SM ? (unsigned)course_at(&g->clocks, now(), g->clock_mhz) : g->clock_mhz;
    return code;
}

EXPORT int nvmlDeviceGetViolationStatus(device d, int policy, violation *out)
{
    gpu *g;
    int code = states(d, &g);
    if (code == OK && policy != POLICY_POWER && policy != POLICY_THERMAL) return NOT_SUPPORTED;
    if (code != OK) return code;
    unsigned bits = policy == POLICY_POWER ? SW_POWER_CAP : THERMAL;
    *out = (violation){(unsigned long long)(now_ns() / 1000), (unsigned long long)(course_seconds(&g->throttles, now(), bits) * 1e9)};
    return OK;
}

/* Queries of energy and power. */
#include "api.h"

#include <pthread.h>

typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } value;
typedef struct { unsigned field, scope; long long timestamp, latency_us; int type, result; value value; } field_value;
typedef struct { unsigned long long timestamp; value value; } sample;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  /* protects the running sum of the counter */

/* Instances have no sensor: only boards can be queried. */
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
    if (code == OK) code = mute_at(g, now());
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
    if (f->field == 83 && g->has_energy_field) {
        f->type = 3;
        f->result = mute_at(g, now());
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

/* The latest readings of the instantaneous power, with microseconds of the sample clock. */
EXPORT int nvmlDeviceGetSamples(device d, int kind, unsigned long long after, int *type, unsigned *count, sample *list)
{
    gpu *g;
    int code = measure(d, &g);
    if (code == OK && (kind != 0 || g->update <= 0 || !g->sample_count)) return NOT_SUPPORTED;
    if (code != OK) return code;
    unsigned room = list ? *count : 0, found = 0;
    double seconds = now();
    for (int back = g->sample_count - 1; back >= 0; back--) {
        double at = tick_before(g, seconds, back);
        unsigned long long stamp = (unsigned long long)(sim.epoch_ns / 1000 + (long long)((at + g->sample_clock) * 1e6));
        if (at < 0 || stamp <= after) continue;
        /* Half a tick later, the reading is the same and not affected by rounding. */
        if (found < room) list[found] = (sample){stamp, {.ui = (unsigned)milli(power_reading(g, at + g->update / 2, POWER_INSTANT))}};
        found++;
    }
    *type = 1;
    *count = list && found > room ? room : found;
    return found ? OK : NOT_FOUND;
}

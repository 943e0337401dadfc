/* Sensor model: readings computed from the scripted power. */
#include "simulator.h"

#include <math.h>

/* Number of points at or before a time. */
static int points_until(const gpu *g, double seconds)
{
    int low = 0, high = g->point_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (g->at[middle] <= seconds) low = middle + 1;
        else high = middle;
    }
    return low;
}

static double once_watts(const gpu *g, double seconds)
{
    int low = points_until(g, seconds);
    if (!g->point_count) return 0;
    if (low == 0) return g->watts[0];
    if (low == g->point_count) return g->watts[low - 1];
    double share = (seconds - g->at[low - 1]) / (g->at[low] - g->at[low - 1]);
    return g->watts[low - 1] + (g->watts[low] - g->watts[low - 1]) * share;
}

static double once_joules(const gpu *g, double seconds)
{
    if (!g->point_count) return 0;
    int until = points_until(g, seconds), before = until ? until - 1 : 0;
    return g->joules[before] + (seconds - g->at[before]) * (g->watts[before] + once_watts(g, seconds)) / 2;
}

double energy_until(const gpu *g, double seconds)
{
    double start = once_joules(g, 0);
    if (g->repeat <= 0) return once_joules(g, seconds) - start;
    double cycles = floor(seconds / g->repeat);
    return cycles * (once_joules(g, g->repeat) - start) + once_joules(g, seconds - cycles * g->repeat) - start;
}

static double watts_at(const gpu *g, double seconds)
{
    return once_watts(g, g->repeat > 0 ? seconds - floor(seconds / g->repeat) * g->repeat : seconds);
}

static double mean_watts(const gpu *g, double end, double length)
{
    if (length <= 0) return watts_at(g, end);
    return (energy_until(g, end) - energy_until(g, end - length)) / length;
}

/* Tick of the newest value, with a small tolerance for a time exactly on a tick. */
static long long tick_of(const gpu *g, double seconds)
{
    return (long long)floor((seconds - g->phase) / g->update + 1e-9);
}

static double tick_time(const gpu *g, double seconds)
{
    return g->update > 0 ? (double)tick_of(g, seconds) * g->update + g->phase : seconds;
}

double tick_before(const gpu *g, double seconds, int back)
{
    return (double)(tick_of(g, seconds) - back) * g->update + g->phase;
}

/* Standard normal number that depends only on the tick. */
static double noise(long long tick)
{
    uint64_t x = (uint64_t)tick * 0x9E3779B97F4A7C15ull, parts[2];
    for (int i = 0; i < 2; i++) {
        x += 0x9E3779B97F4A7C15ull;
        uint64_t z = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        parts[i] = z ^ (z >> 31);
    }
    double u = ((double)(parts[0] >> 11) + 1) / 9007199254740993.0, v = (double)(parts[1] >> 11) / 9007199254740992.0;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

double power_reading(const gpu *g, double seconds, power_kind kind)
{
    double at = tick_time(g, seconds);
    double watts = g->gain * mean_watts(g, at, kind == POWER_AVERAGE ? 1.0 : g->averaging);
    if (g->noise_watts > 0) watts += g->noise_watts * noise(g->update > 0 ? tick_of(g, seconds) : (long long)(at * 1e6));
    return watts > 0 ? watts : 0;
}

static double part_time_sum(gpu *g, double seconds)
{
    long long last = tick_of(g, seconds);
    if (g->summed_ticks > last) g->summed_ticks = 0, g->summed_joules = 0;
    for (; g->summed_ticks < last; g->summed_ticks++) {
        double at = (double)(g->summed_ticks + 1) * g->update + g->phase;
        g->summed_joules += mean_watts(g, at, g->averaging) * g->update;
    }
    return g->summed_joules;
}

static double unreset_counter(gpu *g, double seconds)
{
    int part_time = g->counter == COUNTER_PART_TIME && g->update > 0;
    double at = tick_time(g, seconds);
    double joules = part_time ? part_time_sum(g, seconds) : energy_until(g, at);
    return g->gain * joules + g->module_watts * at;
}

double counter_reading(gpu *g, double seconds)
{
    double base = g->start_joules;
    for (int i = 0; i < g->frozen_count; i++)
        if (g->frozen[i].start <= seconds && seconds < g->frozen[i].end) seconds = g->frozen[i].start;
    for (int i = 0; i < g->reset_count; i++)
        if (g->resets[i] <= seconds) base = -unreset_counter(g, g->resets[i]);
    double joules = base + unreset_counter(g, seconds);
    return joules > 0 ? joules : 0;
}

static int code_at(const window *windows, int count, double seconds)
{
    for (int i = 0; i < count; i++)
        if (windows[i].start <= seconds && seconds < windows[i].end) return windows[i].code;
    return OK;
}

int fault_at(gpu *g, double seconds, int measuring)
{
    if (measuring && g->every > 0 && ++g->calls % g->every == 0) return g->every_code;
    return code_at(g->faults, g->fault_count, seconds);
}

int mute_at(const gpu *g, double seconds)
{
    return g->counter == COUNTER_NONE ? NOT_SUPPORTED : code_at(g->mutes, g->mute_count, seconds);
}

/* Parser of scripts: one keyword and its values per line, '#' starts a comment, unknown keywords are errors.
 *
 *   driver TEXT | epoch NANOSECONDS | init CODE         for the machine
 *   gpu                                                 starts the next GPU, to which the following lines apply
 *   name TEXT | uuid TEXT | bus TEXT | capability MAJOR MINOR | architecture N | cores N | clock MHZ | memory BYTES
 *   power SECONDS WATTS                                 point of the piecewise-linear power, in order of time
 *   repeat SECONDS                                      the section from 0 to this time repeats
 *   update SECONDS | averaging SECONDS | phase SECONDS  update interval, measured part of it, first tick
 *   counter integral|part_time|none | usage instant|average|none | fields all|energy|power|none
 *   samples COUNT SECONDS                               buffered readings, offset of their clock from CLOCK_MONOTONIC
 *   gain FACTOR | noise WATTS | module WATTS | start JOULES
 *   fault START END CODE | mute START END CODE (the counter alone) | every N CODE | frozen START END | reset SECONDS | latency SECONDS
 *   limit SECONDS WATTS | sm SECONDS MHZ | throttle SECONDS BITS   from this time on; bits as in nvmlClocksEventReasons
 *   privileged 0|1 | states 0|1                         may the limit be set; are limit, clock and reasons supported
 *   mig UUID | process PID BYTES                        PID 0 is the calling process
 */
#include "simulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void set_text(char *into, const char *text)
{
    snprintf(into, TEXT, "%s", text);
}

static gpu *add_gpu(machine *m)
{
    if (m->gpu_count == MAX_GPUS) return NULL;
    gpu *g = &m->gpus[m->gpu_count];
    memset(g, 0, sizeof *g);
    set_text(g->name, "Simulated GPU");
    snprintf(g->uuid, TEXT, "GPU-%08x-0000-4000-8000-000000000000", m->gpu_count);
    snprintf(g->bus, TEXT, "00000000:%02X:00.0", m->gpu_count + 1);
    g->major = 9;
    g->architecture = 9;
    g->cores = 16896;
    g->clock_mhz = 1980;
    g->memory_bytes = 80ull << 30;
    g->gain = 1.0;
    g->sample_count = 120;
    g->has_power_fields = g->has_energy_field = g->has_states = 1;
    m->gpu_count++;
    return g;
}

static int add_point(gpu *g, double seconds, double watts)
{
    int n = g->point_count;
    if (n == MAX_POINTS || (n > 0 && seconds < g->at[n - 1])) return 0;
    g->at[n] = seconds;
    g->watts[n] = watts;
    g->joules[n] = n ? g->joules[n - 1] + (seconds - g->at[n - 1]) * (watts + g->watts[n - 1]) / 2 : 0;
    g->point_count++;
    return 1;
}

static int add_window(window *windows, int *count, window w)
{
    if (*count == MAX_WINDOWS) return 0;
    windows[(*count)++] = w;
    return 1;
}

static int add_step(course *c, double seconds, double value)
{
    if (c->count == MAX_STEPS) return 0;
    c->at[c->count] = seconds;
    c->value[c->count++] = value;
    return 1;
}

static int set_fields(gpu *g, const char *which)
{
    g->has_energy_field = !strcmp(which, "all") || !strcmp(which, "energy");
    g->has_power_fields = !strcmp(which, "all") || !strcmp(which, "power");
    return g->has_energy_field || g->has_power_fields || !strcmp(which, "none");
}

static int set_counter(gpu *g, const char *kind)
{
    g->counter = !strcmp(kind, "none") ? COUNTER_NONE : !strcmp(kind, "part_time") ? COUNTER_PART_TIME : COUNTER_INTEGRAL;
    return g->counter != COUNTER_INTEGRAL || !strcmp(kind, "integral");
}

static int set_usage(gpu *g, const char *kind)
{
    g->usage = !strcmp(kind, "none") ? POWER_NONE : !strcmp(kind, "average") ? POWER_AVERAGE : POWER_INSTANT;
    return g->usage != POWER_INSTANT || !strcmp(kind, "instant");
}

static int add_instance(gpu *g, const char *uuid)
{
    if (g->instance_count == MAX_INSTANCES) return 0;
    set_text(g->instances[g->instance_count++].uuid, uuid);
    return 1;
}

static int add_process(gpu *g, double pid, double bytes)
{
    if (g->process_count == MAX_PROCESSES) return 0;
    g->process_pids[g->process_count] = pid > 0 ? (unsigned)pid : (unsigned)getpid();
    g->process_bytes[g->process_count++] = (uint64_t)bytes;
    return 1;
}

static int add_reset(gpu *g, double seconds)
{
    if (g->reset_count == MAX_WINDOWS) return 0;
    g->resets[g->reset_count++] = seconds;
    return 1;
}

static int set_text_of_gpu(gpu *g, const char *key, const char *rest)
{
    if (!strcmp(key, "name")) set_text(g->name, rest);
    else if (!strcmp(key, "uuid")) set_text(g->uuid, rest);
    else if (!strcmp(key, "bus")) set_text(g->bus, rest);
    else return 0;
    return 1;
}

static int set_numbers_of_gpu(gpu *g, const char *key, double a, double b, double c)
{
    if (!strcmp(key, "capability")) g->major = (int)a, g->minor = (int)b;
    else if (!strcmp(key, "architecture")) g->architecture = (unsigned)a;
    else if (!strcmp(key, "cores")) g->cores = (unsigned)a;
    else if (!strcmp(key, "clock")) g->clock_mhz = (unsigned)a;
    else if (!strcmp(key, "memory")) g->memory_bytes = (uint64_t)a;
    else if (!strcmp(key, "repeat")) g->repeat = a;
    else if (!strcmp(key, "update")) g->update = a;
    else if (!strcmp(key, "averaging")) g->averaging = a;
    else if (!strcmp(key, "phase")) g->phase = a;
    else if (!strcmp(key, "gain")) g->gain = a;
    else if (!strcmp(key, "noise")) g->noise_watts = a;
    else if (!strcmp(key, "module")) g->module_watts = a;
    else if (!strcmp(key, "start")) g->start_joules = a;
    else if (!strcmp(key, "latency")) g->latency = a;
    else if (!strcmp(key, "samples")) g->sample_count = (int)a, g->sample_clock = b;
    else if (!strcmp(key, "every")) g->every = (int)a, g->every_code = (int)b;
    else if (!strcmp(key, "privileged")) g->is_privileged = (int)a;
    else if (!strcmp(key, "states")) g->has_states = (int)a;
    else if (!strcmp(key, "limit")) return add_step(&g->limits, a, b);
    else if (!strcmp(key, "sm")) return add_step(&g->clocks, a, b);
    else if (!strcmp(key, "throttle")) return add_step(&g->throttles, a, b);
    else if (!strcmp(key, "power")) return add_point(g, a, b);
    else if (!strcmp(key, "reset")) return add_reset(g, a);
    else if (!strcmp(key, "process")) return add_process(g, a, b);
    else if (!strcmp(key, "fault")) return add_window(g->faults, &g->fault_count, (window){a, b, (int)c});
    else if (!strcmp(key, "mute")) return add_window(g->mutes, &g->mute_count, (window){a, b, (int)c});
    else if (!strcmp(key, "frozen")) return add_window(g->frozen, &g->frozen_count, (window){a, b, 0});
    else return 0;
    return 1;
}

static int set_gpu(gpu *g, const char *key, const char *rest)
{
    double a = 0, b = 0, c = 0;
    if (set_text_of_gpu(g, key, rest)) return 1;
    if (!strcmp(key, "counter")) return set_counter(g, rest);
    if (!strcmp(key, "usage")) return set_usage(g, rest);
    if (!strcmp(key, "fields")) return set_fields(g, rest);
    if (!strcmp(key, "mig")) return add_instance(g, rest);
    return sscanf(rest, "%lf %lf %lf", &a, &b, &c) >= 1 && set_numbers_of_gpu(g, key, a, b, c);
}

static int set_machine(machine *m, const char *key, const char *rest)
{
    if (!strcmp(key, "driver")) set_text(m->driver, rest);
    else if (!strcmp(key, "epoch")) m->epoch_ns = atoll(rest);
    else if (!strcmp(key, "init")) m->init_code = atoi(rest);
    else return 0;
    return 1;
}

static int read_line(machine *m, gpu **current, char *line)
{
    char key[TEXT], rest[TEXT] = "";
    line[strcspn(line, "#\n")] = 0;
    if (sscanf(line, " %95s %95[^\n]", key, rest) < 1) return 1;
    for (size_t end = strlen(rest); end && rest[end - 1] == ' '; end--) rest[end - 1] = 0;
    if (!strcmp(key, "gpu")) return (*current = add_gpu(m)) != NULL;
    return (*current && set_gpu(*current, key, rest)) || set_machine(m, key, rest);
}

/* Returns 0, the number of the first invalid line, or -1 if the file does not exist. */
int read_script(const char *path, machine *into)
{
    char line[512];
    gpu *current = NULL;
    int number = 0, wrong = 0;
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    memset(into, 0, sizeof *into);
    set_text(into->driver, "550.54.15");
    while (!wrong && fgets(line, sizeof line, file))
        if (number++, !read_line(into, &current, line)) wrong = number;
    fclose(file);
    return wrong;
}

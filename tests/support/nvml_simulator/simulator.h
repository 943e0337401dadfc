/* Simulated NVML library: GPUs with scripted power, whose energy is known in closed form.
 *
 * script.c parses the script, model.c computes readings; machine.c, describe.c and measure.c export the NVML symbols.
 * The format of a script is described in script.c. Units are seconds, watts and joules, as in the script. */
#ifndef SIMULATOR_H
#define SIMULATOR_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_GPUS = 16, MAX_POINTS = 16384, MAX_WINDOWS = 32, MAX_INSTANCES = 8, MAX_PROCESSES = 16, MAX_STEPS = 256, TEXT = 96 };

enum { /* nvmlReturn_t */
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7
};

typedef enum { COUNTER_INTEGRAL, COUNTER_PART_TIME, COUNTER_NONE } counter_kind;
typedef enum { POWER_INSTANT, POWER_AVERAGE, POWER_NONE } power_kind;

typedef struct { double start, end; int code; } window;  /* fault from start to end, and its return code */

typedef struct { char uuid[TEXT]; } instance;

typedef struct { int count; double at[MAX_STEPS], value[MAX_STEPS]; } course;  /* piecewise constant over time */

typedef struct gpu {
    char name[TEXT], uuid[TEXT], bus[TEXT];
    int major, minor;                 /* compute capability */
    unsigned architecture, cores, clock_mhz;
    uint64_t memory_bytes;
    int point_count;
    double at[MAX_POINTS], watts[MAX_POINTS], joules[MAX_POINTS];
    double repeat;                    /* seconds; 0 if the waveform does not repeat */
    double update, averaging, phase;  /* seconds: update interval, measured part of it, first tick */
    double gain, noise_watts, module_watts, start_joules, latency;
    counter_kind counter;
    power_kind usage;
    int has_power_fields, has_energy_field;
    int fault_count, mute_count, frozen_count, reset_count, instance_count, process_count;
    window faults[MAX_WINDOWS], mutes[MAX_WINDOWS], frozen[MAX_WINDOWS];
    double resets[MAX_WINDOWS];
    int sample_count;                 /* number of buffered readings */
    double sample_clock;              /* offset of their clock from CLOCK_MONOTONIC, in seconds */
    int every, every_code;            /* every n-th measuring call fails with this code */
    long calls;
    instance instances[MAX_INSTANCES];
    unsigned process_pids[MAX_PROCESSES];
    uint64_t process_bytes[MAX_PROCESSES];
    course limits, throttles, clocks; /* enforced power limit in watts, throttle reasons, SM clock in MHz */
    int is_privileged, has_states;    /* may the limit be set; are limit, clock and reasons supported */
    long long summed_ticks;           /* ticks summed by the part-time counter, and their sum */
    double summed_joules;
} gpu;

typedef struct {
    int gpu_count, init_code;
    long long epoch_ns;               /* time 0 of the script on CLOCK_MONOTONIC */
    char driver[TEXT];
    gpu gpus[MAX_GPUS];
} machine;

int read_script(const char *path, machine *into);

double energy_until(const gpu *g, double seconds);   /* joules since time 0 */
double power_reading(const gpu *g, double seconds, power_kind kind);
double counter_reading(gpu *g, double seconds);
double tick_before(const gpu *g, double seconds, int back);  /* time at which the newest value but `back` was measured */
int fault_at(gpu *g, double seconds, int measuring);
int mute_at(const gpu *g, double seconds);  /* scripted fault of the counter alone */

double course_at(const course *c, double seconds, double initial);
double course_seconds(const course *c, double seconds, unsigned bits);  /* time until now with any of these bits set */

#endif

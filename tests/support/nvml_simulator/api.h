/* Shared by the files that export NVML symbols. Signatures and layouts are those of NVIDIA's nvml.h. */
#ifndef API_H
#define API_H

#include "simulator.h"

#define EXPORT __attribute__((visibility("default")))

typedef void *device;  /* a board or one of its instances */

extern machine sim;
extern int started;

long long now_ns(void);
double now(void);                             /* seconds since the script's epoch */
int put(char *into, unsigned length, const char *text);
gpu *board_of(device d);
instance *instance_of(device d);
int ask(device d, gpu **g, int measuring);    /* returns the board or its scripted fault */

#endif

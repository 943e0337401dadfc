/* What the three files that export nvml symbols share. Signatures and layouts are those of NVIDIA's nvml.h. */
#ifndef API_H
#define API_H

#include "simulator.h"

#define EXPORT __attribute__((visibility("default")))

typedef void *device;  /* a gpu or one of its instances */

extern machine sim;
extern int started;

long long now_ns(void);
double now(void);                             /* seconds on the script's axis */
int put(char *into, unsigned length, const char *text);
gpu *board_of(device d);
instance *instance_of(device d);
int ask(device d, gpu **g, int measuring);    /* finds the board and answers its faults: the head of every question */

#endif

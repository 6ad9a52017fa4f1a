/* SPDX-License-Identifier: MIT */
/* What the worker, and who starts and stops it, need of the quarantine. */
#ifndef BEZOAR_HUNT_QUARANTINE_H
#define BEZOAR_HUNT_QUARANTINE_H

#include <stdint.h>

/* Worker: tell what is to be told, 1 if there was something. */
int bz_quarantine_tell(void);

/* Is anybody told? */
int bz_quarantine_any(void);

/* Worker: an early notice that the kernel does not confirm. */
void bz_quarantine_announced(uint64_t addr, uint64_t len);

/* bez_stop(), after the worker; and in a child of fork(2). */
void bz_quarantine_forget(void);
void bz_quarantine_forked(void);

#endif

/* SPDX-License-Identifier: MIT */
/* Private to record/: one clock read, and two told by it. */
#ifndef BEZOAR_RECORD_CLOCK_H
#define BEZOAR_RECORD_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

/* How far they were from CLOCK_MONOTONIC (ns, modulo 2^64) when it was last looked.
 * Written by who has set writing (CAS) for the time. All 0: never. */
struct bz_clocks {
	_Atomic uint64_t wall, boot;
	_Atomic uint32_t writing;
};

/* What CLOCK_REALTIME and CLOCK_BOOTTIME were at @mono, of CLOCK_MONOTONIC and not
 * long ago; ns. Context: handler-safe; waits for nobody. */
void bz_clocks(struct bz_clocks *c, uint64_t mono, uint64_t *ret_wall,
	       uint64_t *ret_boot);

#endif

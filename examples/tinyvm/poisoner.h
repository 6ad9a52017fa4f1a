/* SPDX-License-Identifier: MIT */
/* Loses pages of the guest while it runs. */
#ifndef TINYVM_POISONER_H
#define TINYVM_POISONER_H

#include <stdint.h>

#include "machine.h"

struct poisoner {
	uint64_t made;
	uint64_t found[KINDS];	/* told to the guest as found by the host */
	int error;		/* -errno: no page can be lost any more */
};

/* 0: all are lost, and the guest was told of each. */
int poisoner_run(struct poisoner *p, struct machine *m);

#endif

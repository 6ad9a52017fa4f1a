/* SPDX-License-Identifier: MIT */
#ifndef TINYVM_REPORT_H
#define TINYVM_REPORT_H

#include <stdint.h>
#include <time.h>

#include "machine.h"
#include "poisoner.h"

struct result {
	struct machine *machine;
	struct poisoner poisoner;
	int broke_off;		/* before all were lost and told */
	struct timespec begin, end;
};

void result_begin(struct result *r);
void result_end(struct result *r);

/* Compare what the guest, the library and the monitor say, and print it. 1: well. */
int report(const struct result *r);

#endif

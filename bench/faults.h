/* SPDX-License-Identifier: MIT */
/*
 * What the benches of faults have in common: lose all pages, touch each once
 * and take the time from the load until it returned, look at every byte.
 */
#ifndef BEZOAR_BENCH_FAULTS_H
#define BEZOAR_BENCH_FAULTS_H

#include "memory.h"
#include "ref_resume.h"

#include <bezoar/bezoar.h>

/* Touch the first @n pages; samples are ns from the load to its return. */
void bench_touch(const struct bench_memory *memory, double *samples, size_t n);

/*
 * Two rounds (see engine.h) of memory->used samples; -EBADMSG: wrong bytes
 * afterwards. The first takes a struct bench_memory and expects that bezoar
 * has its regions; -ENODATA if it did not replace each page.
 */
int bench_faults_ours(void *memory, double *samples, size_t n);

struct bench_faults_ref {
	const struct bench_memory *memory;
	enum ref_way way;
	int fd;			/* of REF_FILE, REF_SHARED */
};

int bench_faults_bare(void *bench_faults_ref, double *samples, size_t n);

/*
 * Register the first @count regions of @pages slots each (of one slot where
 * they are not adjacent), each with its mirror, in the given order or (NULL)
 * by address. @flags: BEZ_POLICY_*.
 */
int bench_regions_add(const struct bench_memory *memory, uint32_t flags,
		      size_t pages, const uint32_t *order, size_t count);

/* What bezoar has replaced since it was started. */
uint64_t bench_replaced(void);

#endif

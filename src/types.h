/* SPDX-License-Identifier: MIT */
/*
 * What travels from room to room with a fault: small, of fixed size, no
 * pointers into the heap.
 */
#ifndef BEZOAR_TYPES_H
#define BEZOAR_TYPES_H

#include <bezoar/bezoar.h>
#include <signal.h>
#include <stdint.h>

#include "sys/sys.h"

struct bz_walk;			/* core/walk.h */
struct bz_region;		/* region/table.h */

/* Made by fault/decode. */
struct bz_fault {
	uint64_t taken_ns;	/* CLOCK_MONOTONIC */
	uint64_t addr;		/* as reported; 0 if cause is MISSING or SENT */
	uint32_t cause;		/* enum bez_cause */
	int32_t si_code;
	uint8_t lsb;		/* 0: the kernel gave no width */
	uint64_t fix;		/* where a copy goes on that this interrupts,
				 * copy/copy.h; 0: none is */
};

/* A source as the handler reads it. Made by region/policy. */
struct bz_source {
	uint8_t kind;		/* enum bez_source_kind, never FIRST_OF */
	uint8_t flags;
	int32_t fd;
	union {
		uint64_t mirror;	/* address */
		uint64_t offset;	/* FILE */
		bez_fill_fn fill;
	};
	union {
		void *arg;		/* CALLBACK, DEFERRED */
		uint64_t file_dev;
	};
	union {
		uint64_t deadline_ns;	/* DEFERRED */
		uint64_t file_ino;
	};
};

/* What region/ tells the other rooms of the region that was hit: a copy, but
 * what it points to lives only as long as the reader's mark is set. */
struct bz_hit {
	bez_region_t id;
	uint64_t start;			/* of the region */
	uint64_t end;
	uint32_t flags;			/* BEZ_POLICY_* */
	uint32_t max_repeats;
	uint8_t actions[4];
	uint8_t sources;		/* entries in source */
	const struct bz_source *source;
	const uint64_t *digests;
	const char *name;		/* BEZ_NAME_MAX + 1 bytes */
	struct bz_region *region;	/* region/ knows what that is */
};

/* What one fault takes. */
struct bz_extent {
	uint64_t start;
	uint64_t width;			/* bytes, a power of two */
};

/* What recovery did; filled on the way, read by record/. */
struct bz_result {
	uint16_t outcome;		/* enum bez_outcome */
	uint16_t why;			/* enum bez_outcome: the step that failed */
	uint16_t action;		/* enum bez_action */
	uint16_t source;		/* enum bez_source_kind */
};

#endif

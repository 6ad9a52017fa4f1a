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
struct bz_share;		/* repair/share.h */
struct bez_scope;		/* bezoar/scope.h */

/* What memory it is. Read by repair/, kept by region/. */
enum bz_memory_kind {
	BZ_MEMORY_UNKNOWN = 0,
	BZ_MEMORY_ANON = 1,	/* private anonymous */
	BZ_MEMORY_PRIVATE = 2,	/* a private mapping of a file */
	BZ_MEMORY_SHARED = 3,
	BZ_MEMORY_OTHER = 4,	/* device memory, the vDSO */
	BZ_MEMORY_MIXED = 5	/* of a region: not the same everywhere */
};

struct bz_memory {
	uint8_t kind;		/* enum bz_memory_kind */
	uint8_t shift;		/* log2 of its page size; 0: unknown */
};

/* The file behind a region of shared memory. Made by repair/share when it is
 * registered; written by a child of fork(2) before it runs, which opens it anew. */
struct bz_share {
	int32_t fd;		/* an open file of our own; -1: none */
	uint8_t flags;		/* BEZ_SHARED_* */
	uint8_t disk;		/* a file on a disk, no memory file */
	struct bz_memory memory;
	uint64_t dev, ino;
	uint64_t offset;	/* of start, in the file */
	uint64_t start, end;	/* of the region */
	uint32_t owner;		/* mm->fence_first of the address space whose
				 * it is */
	_Atomic uint32_t fenced; /* mm->fence_nr of the fence around it; who
				 * raised that */
	struct bz_share *next;	/* under the regions' lock */
};

/* Made by fault/decode. */
struct bz_fault {
	uint64_t taken_ns;	/* CLOCK_MONOTONIC */
	uint64_t addr;		/* as reported; 0 if cause is MISSING or SENT */
	uint32_t cause;		/* enum bez_cause */
	int32_t si_code;
	uint8_t lsb;		/* 0: the kernel gave no width */
	uint8_t nowhere;	/* MISSING: it was no access of the program's */
	uint64_t ip;		/* of the instruction; 0: none is to blame */
	uint64_t sp;		/* its stack; 0: likewise */
	uint64_t alt, alt_len;	/* the alternate stack of that thread */
	const void *context;	/* all of it; NULL: likewise */
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
	struct bz_memory memory;	/* of all of it, as far as it is known */
	struct bz_share *share;		/* the file behind it; or NULL */
	const struct bz_source *source;
	const uint64_t *digests;
	const struct bez_relay *relay;	/* the owner's; or NULL */
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
	uint16_t cause;			/* enum bez_cause, if more is known than
					 * the signal said; or 0 */
	uint16_t was_lost;		/* before: nothing was to be tried */
	uint64_t frame;			/* of the page that was lost; or 0 */
	uint64_t done_ns;		/* CLOCK_MONOTONIC; 0: see bz_record() */
	struct bez_scope *scope;	/* UNWOUND: to here */
};

#endif

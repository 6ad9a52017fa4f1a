/* SPDX-License-Identifier: MIT */
/*
 * The record: what one fault came to, for those who read it later. One struct
 * of fixed size, little-endian, written whole by one write(2) to the descriptor
 * in bez_options.record_fd, or sent to the daemon. docs/record.md has the layout as a table; bezoar(1)
 * reads it.
 *
 * The first twelve bytes (magic, version, bytes) and the last eight (digest)
 * are where they are in every version. Fields of this version are never moved
 * and never mean something else: a later one has another number.
 *
 * Names come from the program and from whoever started it, and can hold any
 * byte: escape what you show. A record never holds content of memory.
 *
 * On the machines that bezoar runs on the struct is the layout. This header
 * compiles as C99 and C++11.
 */
#ifndef BEZOAR_RECORD_H
#define BEZOAR_RECORD_H

#include <stdint.h>

/* \217 is no character, so that no text is taken for a record. */
#define BEZ_RECORD_MAGIC	"\217bezrec\n"
#define BEZ_RECORD_VERSION	1
#define BEZ_RECORD_BYTES	384	/* of this version */
#define BEZ_RECORD_LEAST	20	/* of any: the head and the digest */
#define BEZ_RECORD_MOST		512	/* of any */

/* flags */
#define BEZ_RECORD_HAS_FRAME	0x1u /* frame is the page frame of the lost page */
#define BEZ_RECORD_CGROUP_CUT	0x2u /* of cgroup only the end is there */
#define BEZ_RECORD_BARE_CHILD	0x4u /* of a child that a bare clone(2) made,
				      * or the end of one of vfork(2), with a
				      * daemon any record of that one:
				      * start_ticks is 0, and comm and cgroup
				      * are its parent's */

struct bez_record {
	uint8_t magic[8];	/* BEZ_RECORD_MAGIC, without a NUL */
	uint16_t version;	/* BEZ_RECORD_VERSION */
	uint16_t bytes;		/* of all of it, digest included */
	uint32_t flags;		/* BEZ_RECORD_* */
	uint64_t id;		/* bez_event.seq: 1, 2, 3 ... in this process; a
				 * gap is what was dropped, went another way, or
				 * is about memory that its owner opened again */
	uint64_t wall_ns;	/* CLOCK_REALTIME, at mono_ns + took_ns */
	uint64_t boot_ns;	/* CLOCK_BOOTTIME, at the same time */
	uint64_t mono_ns;	/* CLOCK_MONOTONIC, when the fault was taken */
	uint8_t boot_id[16];	/* of random(4); 0: not known */
	int32_t pid;
	int32_t tid;		/* who met the loss */
	uint64_t start_ticks;	/* when the process began: field 22 of
				 * /proc/PID/stat */
	uint64_t took_ns;	/* from mono_ns until ready to resume */
	uint64_t addr;		/* as the kernel gave it; 0: none */
	uint64_t width;		/* bytes of what was lost; 0: not known */
	uint64_t ip;		/* the instruction that met it; 0: none did */
	uint64_t region;	/* bez_region_t; 0: none */
	uint64_t offset;	/* of addr in the region */
	uint64_t frame;		/* with BEZ_RECORD_HAS_FRAME, else 0 */
	int32_t si_code;
	uint16_t cause;		/* enum bez_cause */
	uint16_t outcome;	/* enum bez_outcome */
	uint16_t why;		/* enum bez_outcome: why an earlier action
				 * failed; or 0 */
	uint16_t action;	/* enum bez_action that ended it */
	uint16_t source;	/* enum bez_source_kind, delivered or asked last */
	uint16_t depth;		/* 1, or more inside another fault */

	/* counters of the process up to now */
	uint64_t faults;
	uint64_t replaced;
	uint64_t not_replaced;
	uint64_t foreign;
	uint64_t dropped;	/* records that were not written */

	/* NUL-terminated, and filled up with NUL */
	char comm[16];		/* of the process, when it started bezoar */
	char name[32];		/* of the region */
	char cgroup[128];	/* of the process, likewise */

	uint64_t reserved;	/* 0 */
	uint64_t digest;	/* XXH3-64, seed 0, of all bytes before it */
};

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Sources: where the good bytes of a lost page come from, and digests, that tell
 * whether they are what was lost; <bezoar/bezoar.h> includes this.
 */
#ifndef BEZOAR_SOURCE_H
#define BEZOAR_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum bez_source_kind {
	BEZ_SOURCE_NONE = 0,
	BEZ_SOURCE_ZERO = 1,	/* zeros; asked for by name, never a default */
	BEZ_SOURCE_MIRROR = 2,	/* another buffer of the region's length */
	BEZ_SOURCE_FILE = 3,	/* pread(2) of a descriptor */
	BEZ_SOURCE_CALLBACK = 4, /* a function, called inside the handler */
	BEZ_SOURCE_DEFERRED = 5, /* a function, called on the worker */
	BEZ_SOURCE_FIRST_OF = 6, /* a list: the first that delivers */
	BEZ_SOURCE_SALVAGE = 7	/* the good pages of a lost huge page, read back
				 * from its own file; for the bad one the next
				 * in the list is asked */
};

#define BEZ_SOURCE_MAX_LIST	4	/* members of one FIRST_OF list */

/* FILE: what lies past the end of the file is zeros, as with mmap(2). */
#define BEZ_SOURCE_EOF_ZERO	0x1u

/*
 * Fill @len bytes at @dst with what belongs at byte @offset of the region.
 * Returns 0, or a negative errno: then the next source is asked, and what was
 * written to @dst is thrown away.
 *
 * CALLBACK: runs in the signal handler of the faulting thread: only
 * async-signal-safe functions (signal-safety(7)), no locks that the
 * interrupted code may hold. DEFERRED: runs on the worker in normal context;
 * it may allocate and lock, but a lock held by the faulting thread makes it
 * late, and then the ladder goes on without it. Its protection keys (pkeys(7))
 * are the worker's, or, when it looks after an early notice, open; in the handler
 * all are open. Both: if it touches a lost page that cannot be replaced, it is
 * abandoned where it stands (locks stay held) and counts as failed. None may
 * fork, switch stacks, nor call bez_ functions other than the handler-safe ones
 * (-EDEADLK); who jumps out of one (from a handler of another signal) leaves the
 * page lost and what others wait for waiting until that thread's next fault.
 */
typedef int (*bez_fill_fn)(void *dst, size_t len, uint64_t offset, void *arg);

struct bez_source {
	uint32_t kind;			/* enum bez_source_kind */
	uint32_t flags;			/* BEZ_SOURCE_EOF_ZERO or 0 */
	const void *addr;		/* MIRROR: its byte 0 is the region's */
	int fd;				/* FILE: stays open, same file */
	uint32_t count;			/* FIRST_OF: entries in list */
	uint64_t offset;		/* FILE: where the region's byte 0 is */
	bez_fill_fn fill;		/* CALLBACK, DEFERRED */
	void *arg;			/* passed to fill */
	uint64_t deadline_ns;		/* DEFERRED: from fault to answer;
					 * 0: 100 ms */
	const struct bez_source *list;	/* FIRST_OF; may not nest */
};

static inline struct bez_source bez_source_of(uint32_t kind)
{
	struct bez_source s;

	s.kind = kind;
	s.flags = 0;
	s.addr = NULL;
	s.fd = -1;
	s.count = 0;
	s.offset = 0;
	s.fill = NULL;
	s.arg = NULL;
	s.deadline_ns = 0;
	s.list = NULL;
	return s;
}

static inline struct bez_source bez_source_zero(void)
{
	return bez_source_of(BEZ_SOURCE_ZERO);
}

static inline struct bez_source bez_source_mirror(const void *addr)
{
	struct bez_source s = bez_source_of(BEZ_SOURCE_MIRROR);

	s.addr = addr;
	return s;
}

static inline struct bez_source bez_source_file(int fd, uint64_t offset)
{
	struct bez_source s = bez_source_of(BEZ_SOURCE_FILE);

	s.fd = fd;
	s.offset = offset;
	return s;
}

static inline struct bez_source bez_source_callback(bez_fill_fn fill, void *arg)
{
	struct bez_source s = bez_source_of(BEZ_SOURCE_CALLBACK);

	s.fill = fill;
	s.arg = arg;
	return s;
}

static inline struct bez_source bez_source_deferred(bez_fill_fn fill, void *arg,
						    uint64_t deadline_ns)
{
	struct bez_source s = bez_source_of(BEZ_SOURCE_DEFERRED);

	s.fill = fill;
	s.arg = arg;
	s.deadline_ns = deadline_ns;
	return s;
}

static inline struct bez_source
bez_source_first_of(const struct bez_source *list, uint32_t count)
{
	struct bez_source s = bez_source_of(BEZ_SOURCE_FIRST_OF);

	s.list = list;
	s.count = count;
	return s;
}

static inline struct bez_source bez_source_salvage(void)
{
	return bez_source_of(BEZ_SOURCE_SALVAGE);
}

/*
 * XXH3-64 of @len bytes: what goes into bez_policy.digests, one for each page
 * of the region. Context: any, handler-safe.
 */
uint64_t bez_digest(const void *bytes, size_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif

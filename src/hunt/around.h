/* SPDX-License-Identifier: MIT */
/*
 * What saving a range and bringing it back have in common: memory of a call's own,
 * the list of holes, and descriptors that take or give all of it. Normal context.
 */
#ifndef BEZOAR_HUNT_AROUND_H
#define BEZOAR_HUNT_AROUND_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

#include <bezoar/around.h>

#define BZ_AROUND_CHUNK	262144u		/* copied, hashed and written at once */

/*
 * One mapping, that no child and no dump has, as it has what the range has; not of
 * malloc(), which may be what was lost.
 *
 *	| buf CHUNK | zeros CHUNK | hole[most] | trailer |
 */
struct bz_around {
	unsigned char *buf;
	const unsigned char *zeros;
	struct bez_hole *hole;
	size_t count, most;
	unsigned char *trailer;		/* bz_around_size(most) bytes */
	XXH3_state_t *digest;		/* of the good bytes; behind the trailer */
	uint64_t size;			/* of the mapping */
	uint32_t own;			/* bz_own_add() of it */
};

/* For up to @most holes: 0 or -ENOMEM. */
int bz_around_open(struct bz_around *a, size_t most);
void bz_around_close(struct bz_around *a);

/* One more behind all others, joined to the last if they touch: 0 or -E2BIG. */
int bz_around_add(struct bz_around *a, uint64_t offset, uint64_t len);

/* Give the caller the list. */
void bz_around_tell(const struct bz_around *a, struct bez_holes *ret);

/* Can @holes be filled? 0 or -EINVAL. */
int bz_around_check(const struct bez_holes *holes);

/*
 * bez_copy() has ended at @addr: how many of the @left bytes there are lost, at
 * least. 0: it was the call's own memory, @own.
 */
uint64_t bz_around_lost(const void *addr, size_t left, const void *own);

/* All of it, whatever interrupts it or has to be waited for: 0 or a negative
 * errno; of a read also -EBADMSG: there is no more. */
int bz_around_write(int fd, const void *from, size_t len);
int bz_around_read(int fd, void *to, size_t len);
int bz_around_pread(int fd, void *to, size_t len, uint64_t offset);

/* 1, and *@ret_at is its position, or 0: not a file that has one. */
int bz_around_is_file(int fd, uint64_t *ret_at);

#endif

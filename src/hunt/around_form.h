/* SPDX-License-Identifier: MIT */
/*
 * The trailer behind a range that was saved: docs/around.md. Pure: no memory but
 * what it is given, no system call; a fuzzer's target.
 *
 *	| magic 8 | version 4 | 0 4 | length 8 | count 8 |	HEAD
 *	| offset 8 | len 8 |					for each hole
 *	| digest of the bytes 8 | trailer's length 8 | its digest 8 |	TAIL
 */
#ifndef BEZOAR_HUNT_AROUND_FORM_H
#define BEZOAR_HUNT_AROUND_FORM_H

#include <stddef.h>
#include <stdint.h>

#include <bezoar/around.h>

#define BZ_AROUND_MAGIC		"\x8f" "bezhol\n"
#define BZ_AROUND_VERSION	1u
#define BZ_AROUND_HEAD		32u
#define BZ_AROUND_HOLE		16u
#define BZ_AROUND_TAIL		24u

static inline size_t bz_around_size(size_t count)
{
	return BZ_AROUND_HEAD + count * BZ_AROUND_HOLE + BZ_AROUND_TAIL;
}

/* Write it: bz_around_size(@count) bytes. @digest is of the good bytes. */
void bz_around_put(unsigned char *to, uint64_t len,
		   const struct bez_hole *hole, size_t count, uint64_t digest);

/*
 * The BZ_AROUND_HEAD bytes at @from, of a range of @len bytes: how many holes
 * follow. -EBADMSG, -EOPNOTSUPP.
 */
int bz_around_head(const unsigned char *from, uint64_t len,
		   size_t *ret_count);

/*
 * All @size bytes of it, of a range of @len bytes. @ret_hole has room for as many
 * as bz_around_head() said; they are in order, inside the range and do not touch.
 * -EBADMSG, -EOPNOTSUPP: then what is in @ret_hole means nothing.
 */
int bz_around_get(const unsigned char *from, size_t size, uint64_t len,
		  struct bez_hole *ret_hole, uint64_t *ret_digest);

#endif

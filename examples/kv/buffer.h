/* SPDX-License-Identifier: MIT */
/* Bytes that wait to be parsed, or to be sent. */
#ifndef KV_BUFFER_H
#define KV_BUFFER_H

#include <stddef.h>

#define BUFFER_KEEP	16384u		/* an idle one is not larger */

struct buffer {
	char *at;
	size_t begin, end, size;	/* begin..end is what waits */
};

/* Room for @more bytes behind the end; NULL: there is no memory for it. */
char *buffer_room(struct buffer *b, size_t more);
/* Move what waits to the front; give memory back if nothing does. */
void buffer_tidy(struct buffer *b);
void buffer_free(struct buffer *b);

static inline size_t buffer_waits(const struct buffer *b)
{
	return b->end - b->begin;
}

#endif

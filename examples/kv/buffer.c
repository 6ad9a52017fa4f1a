/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

char *buffer_room(struct buffer *b, size_t more)
{
	size_t size = b->size ? b->size : BUFFER_KEEP;
	char *at;

	if (b->size - b->end >= more)
		return b->at + b->end;
	while (size - b->end < more)
		size *= 2;
	at = realloc(b->at, size);
	if (!at)
		return NULL;
	b->at = at;
	b->size = size;
	return at + b->end;
}

void buffer_tidy(struct buffer *b)
{
	size_t waits = buffer_waits(b);

	if (waits && b->begin)
		memmove(b->at, b->at + b->begin, waits);
	b->begin = 0;
	b->end = waits;
	if (!waits && b->size > BUFFER_KEEP)
		buffer_free(b);
}

void buffer_free(struct buffer *b)
{
	free(b->at);
	*b = (struct buffer){ NULL, 0, 0, 0 };
}

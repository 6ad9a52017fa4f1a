/* SPDX-License-Identifier: MIT */
#include "index.h"

#include <bezoar/bezoar.h>
#include <string.h>

struct slot {
	uint64_t digest;
	uint64_t block_and_1;	/* 0: empty */
};

static size_t slots_for(size_t file_bytes)
{
	return file_bytes / INDEX_BLOCK * 2;
}

size_t index_bytes(size_t file_bytes)
{
	return slots_for(file_bytes) * sizeof(struct slot);
}

size_t index_blocks(const struct memory *m)
{
	return m->file_pages * (m->page / INDEX_BLOCK);
}

/* The slot of @bytes, or the empty one where it would be; NULL: the table has
 * neither, so it is not what was made. */
static struct slot *look_up(const struct memory *m, const unsigned char *bytes)
{
	struct slot *table = (struct slot *)memory_page(m, m->file_pages);
	size_t slots = slots_for(m->file_pages * m->page), i, at;
	uint64_t digest = bez_digest(bytes, INDEX_BLOCK);

	at = (size_t)((unsigned __int128)digest * slots >> 64);
	for (i = 0; i < slots; i++) {
		struct slot *s = &table[at];

		if (!s->block_and_1)
			return s;
		if (s->digest == digest &&
		    s->block_and_1 <= index_blocks(m) &&
		    !memcmp(index_block(m, s->block_and_1 - 1), bytes,
			    INDEX_BLOCK))
			return s;
		at = at + 1 == slots ? 0 : at + 1;
	}
	return NULL;
}

void index_make(struct memory *m)
{
	size_t i;

	/* each page, or some would stay the kernel's page of zeros */
	memset(memory_page(m, m->file_pages), 0,
	       (m->pages - m->file_pages) * m->page);
	for (i = 0; i < index_blocks(m); i++) {
		const unsigned char *bytes = index_block(m, i);
		struct slot *s = look_up(m, bytes);

		if (s->block_and_1)
			continue;	/* this content stood earlier */
		s->digest = bez_digest(bytes, INDEX_BLOCK);
		s->block_and_1 = i + 1;
	}
}

int index_find(const struct memory *m, const unsigned char *bytes,
	       size_t *ret_block)
{
	const struct slot *s = look_up(m, bytes);

	if (!s || !s->block_and_1)
		return -1;
	*ret_block = s->block_and_1 - 1;
	return 0;
}

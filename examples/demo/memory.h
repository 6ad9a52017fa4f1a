/* SPDX-License-Identifier: MIT */
/*
 * The memory that the demo works on, and loses: real files, each from the start
 * of a page, and behind them an index of their content. Private anonymous
 * memory of one mapping:
 *
 *	| file 0 | file 1 |  ...  | file n | index |		| mirror |
 *	0        pages			   file_pages	pages
 *
 * Pages are counted from 0, through files and index. What is not lost here:
 * the table of files, the digests, the mirror, the code.
 */
#ifndef DEMO_MEMORY_H
#define DEMO_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "options.h"

struct file {
	char *path;
	int fd;			/* stays open: the good bytes come from here */
	size_t size;
	size_t first, pages;
};

struct memory {
	size_t page;		/* bytes */
	unsigned char *base;
	size_t file_pages;	/* of all files together */
	size_t pages;		/* and of the index */
	struct file *files;
	size_t file_count;
	size_t min_size;	/* smaller files were left out: too many */
	size_t file_bytes;
	unsigned char *mirror;	/* of the index */
	uint64_t *digests;	/* of each page, as it must be */
	_Atomic unsigned char *lost; /* [page]: 1: for good, pass it over */
};

/*
 * Choose files, read them, make the index, its mirror and the digests. Says
 * what is wrong on stderr. -1: nothing to work on.
 */
int memory_load(const struct options *options, struct memory *ret_memory);

static inline unsigned char *memory_page(const struct memory *m, size_t page)
{
	return m->base + page * m->page;
}

/* The file that @page (below file_pages) is of. */
const struct file *memory_file(const struct memory *m, size_t page);

/*
 * What belongs into @page, read anew from the file or the mirror, to @buffer
 * of a page. -1: it cannot be told any more (the file has changed).
 */
int memory_truth(const struct memory *m, size_t page, unsigned char *buffer);

#endif

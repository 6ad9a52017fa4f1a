/* SPDX-License-Identifier: MIT */
/*
 * The reference for replacing a page: a bare SIGBUS handler that knows one
 * piece of memory and its mirror. It checks whose the address is, and nothing
 * else.
 */
#ifndef BEZOAR_BENCH_REF_RESUME_H
#define BEZOAR_BENCH_REF_RESUME_H

#include <stddef.h>

enum ref_way {
	REF_PAGE,	/* register the page as missing, empty, copy, unregister:
			 * no other thread can read what is not there yet */
	REF_ALL,	/* empty, copy; all was registered before and stays so */
	REF_MARKER,	/* copy onto the marker; as above. Emulated poison only */
	REF_TRACKED,	/* as REF_PAGE, in a range whose writes are tracked
			 * (WP_ASYNC, 6.7), and so again afterwards */
	REF_MREMAP,	/* move a filled page over it */
	REF_MMAP,	/* map a new page over it and fill: others read zeros */
	REF_FILE,	/* as REF_PAGE, from a file, which is read first */
	REF_SHARED,	/* write the page into the file that is mapped, drop the
			 * poison entry */
	REF_SKIP	/* replace nothing, step over ref_load() */
};

/*
 * Take SIGBUS for [data, data + len), of pages of @page bytes. @fd: the file of
 * REF_FILE and REF_SHARED. Returns 0 or a negative errno.
 */
int ref_resume_begin(char *data, const char *mirror, size_t len, size_t page,
		     int fd, enum ref_way way);
/* Give it back to whoever had it. */
void ref_resume_end(void);

/* Read one byte by an instruction that REF_SKIP knows. */
char ref_load(const char *at);

#endif

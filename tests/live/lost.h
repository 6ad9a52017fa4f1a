/* SPDX-License-Identifier: MIT */
/*
 * Lose pages of shared memory. Where the kernel has memory failure they are lost
 * for real. Elsewhere the door to the kernel (src/sys/) has a double here that
 * says of a memory file what such a kernel would: its page is poisoned, for
 * MADV_POPULATE_READ and for pread(2), until it is punched out; in all processes.
 * The SIGBUS itself comes from markers, one for each process.
 */
#ifndef BEZOAR_TESTS_LOST_H
#define BEZOAR_TESTS_LOST_H

#include <bezoar/bezoar.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LOST_PAGES	2048		/* of base pages, that one file may have */

/* Shared by all processes of a test. */
struct lost {
	_Atomic uint32_t fills;		/* UFFDIO_COPY that worked */
	_Atomic uint32_t punches;
	_Atomic uint32_t dies_before;	/* who is to fill next dies instead */
	_Atomic uint32_t whole;		/* reading says EIO of all of a huge page:
					 * before Linux 6.6 */
	uint32_t forgets;		/* the file has a hole there, which the
					 * entry hides: before Linux 5.18 */
	uint32_t chunk;			/* if not 0: reads return no more */
	uint32_t unseen;		/* bad pages have no entry, and read like
					 * a hole: Linux 5.10, for a moment */
	uint32_t torn;			/* they give so much of a bad page, too */
	uint32_t no_huge;		/* the pool of huge pages is empty */
	uint32_t no_name;		/* the kernel does not say which it is */
	uint32_t hammered;		/* other threads touch it all the time */
	_Atomic uint8_t bad[LOST_PAGES];
};
extern struct lost *lost;

/* @fd is the file, of pages of @width; @at is mapped from its byte 0. Before a
 * child is made; with an @at of its own each child says it again. */
void lost_begin(int fd, void *at, size_t width);
void lost_is_at(void *at);

/* Lose the base page at @offset. Real poison is everybody's at once; else each
 * process that is to notice calls lost_mark(), whose registered memory it is. */
void lose_at(size_t offset);
void lost_mark(size_t offset);
/* Both, in a test of one process. */
void lost_notice(size_t offset);

/* see_refused() of it, also where it is only marked; it is lost again after. */
void lost_refused(size_t offset, enum bez_outcome why);

/* Run before the system call, if not NULL. In whichever process. */
extern void (*lost_before)(long nr, const long arg[6]);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Memory of each private kind, how to lose a page of it, and what the kernel
 * says of it.
 */
#ifndef BEZOAR_TESTS_KINDS_HELP_H
#define BEZOAR_TESTS_KINDS_HELP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KINDS_HUGE	((size_t)2 << 20)
#define KINDS_PAGES	6	/* of each: base pages, or 3 huge ones */
#define KINDS_FILE	3	/* seed of what a file has that was copied */

/* What a test is about. Content: live_fill(, seed 0). */
struct kinds_memory {
	unsigned char *at;
	size_t len;
	size_t width;			/* bytes of what is lost at once */
	int fd;				/* -1: none */
	char path[64];			/* "": none */
	int flags;			/* of mmap(2) */
};

struct kinds_kind {
	const char *name;
	void (*make)(struct kinds_memory *m);
	int huge;
	int cow;			/* written after it was mapped, so that
					 * the file has other bytes */
	int disk;			/* no userfaultfd works on it */
	int flags;			/* of mmap(2), beside others */
};

extern const struct kinds_kind kinds_anon, kinds_memfd, kinds_memfd_cow,
	kinds_tmpfs, kinds_tmpfs_cow, kinds_disk, kinds_disk_cow, kinds_huge,
	kinds_huge_unreserved, kinds_huge_memfd, kinds_huge_memfd_cow;

/* Make it, with its content; between mappings without access. Skips the case
 * where that cannot be. */
void kinds_make(const struct kinds_kind *kind, struct kinds_memory *ret_memory);

/* The file, if it has a name: gone. */
void kinds_unlink(struct kinds_memory *m);

/* live_fill()'s bytes, made once: a huge page takes long otherwise. */
const unsigned char *kinds_bytes(unsigned int seed);

/* Is any byte of [@from, @to) of it another than live_fill()'s? Reads all. */
int kinds_wrong(const struct kinds_memory *m, size_t from, size_t to);

/* What is lost with @offset is the extent from here. */
size_t kinds_extent(const struct kinds_memory *m, size_t offset);

/* Lose it: by real poison where live_is_real(), by a marker elsewhere. Other
 * threads are not to touch it meanwhile. */
void kinds_lose(const struct kinds_memory *m, size_t offset);

/* The same in one step for who reads it all the time (markers only): a lost
 * page of the same mapping is moved over it. @give: or NULL: makes it like it. */
void kinds_lose_at_once(const struct kinds_memory *m, size_t offset,
			int (*give)(void *at, size_t len));

/* Can kinds_lose() do anything to this kind here? Skips the case if not. */
void kinds_can_be_lost(const struct kinds_kind *kind);

/* What the kernel says of the mapping at @addr. */
struct kinds_seen {
	char perms[5];
	char flags[160];		/* VmFlags, without sd */
	char policy[64];		/* numa_maps: of memory */
	char name[128];
	unsigned long long offset;	/* in the file, of @addr */
	unsigned int dev[2];
	unsigned long ino;
	unsigned long page_kb;
	int pkey;
};

void kinds_see(const void *addr, struct kinds_seen *ret_seen);

/* Fails the case unless they are alike; @detached: but for the file. */
void kinds_alike(const struct kinds_seen *was, const struct kinds_seen *is,
		 int detached, const char *what);

/* "Locked:" of all mappings in the range, in kB. */
unsigned long kinds_locked_kb(const void *at, size_t len);

#endif

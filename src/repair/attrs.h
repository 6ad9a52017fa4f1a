/* SPDX-License-Identifier: MIT */
/* Private to repair/: what a mapping is like, and making another one like it. */
#ifndef BEZOAR_REPAIR_ATTRS_H
#define BEZOAR_REPAIR_ATTRS_H

#include <stdint.h>

#include "repair/repair.h"

#define BZ_ATTR_NAME 80			/* the kernel's limit, with the NUL */

#define BZ_NUMA_WORDS 16		/* 1,024 nodes: the kernel's limit */

struct bz_attrs {
	int prot;
	struct bz_numa {
		int mode;		/* as get_mempolicy(2) says */
		uint64_t nodes[BZ_NUMA_WORDS];
	} numa;
	int pkey;
	uint64_t start, end;		/* of the mapping */
	uint64_t offset;		/* of start, in the file */
	uint64_t dev, ino;		/* of the file; 0: none */
	struct bz_memory memory;
	uint8_t locked;
	uint8_t nameless;		/* hugetlb, and no file's */
	uint8_t noreserve;
	uint8_t advices;		/* entries in advice */
	uint8_t watched;		/* by a userfaultfd */
	uint8_t unkept;			/* has one that we could not give back */
	uint8_t advice[8];		/* MADV_* that were given */
	char name[BZ_ATTR_NAME];	/* of [anon:...]; "": none */
};

/*
 * Read the attributes of the mapping at @addr from /proc/self/smaps, line by
 * line. @scratch: a page. 0, -ENOENT (not mapped), or what the kernel said.
 * Takes as long as there are mappings: for the rare way only.
 */
int bz_attrs_read(uint64_t addr, void *scratch, struct bz_attrs *ret_attrs);

/*
 * Open the file behind the private mapping at @addr, for reading, by its name:
 * the descriptor, if it is still the file that @attrs has, else -ESTALE, or what
 * the kernel said. @scratch: a page.
 */
long bz_attrs_open(uint64_t addr, void *scratch, const struct bz_attrs *attrs);

/*
 * Give the fresh mapping at @addr, private, readable and writable, all of @attrs
 * and the @len bytes of @content: after the advice, which may keep them out of
 * core dumps and children. 0 or what the kernel said.
 */
int bz_attrs_apply(uint64_t addr, uint64_t len, const struct bz_attrs *attrs,
		   const void *content);

#endif

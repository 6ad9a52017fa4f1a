/* SPDX-License-Identifier: MIT */
/*
 * What a test can see of a loss that was not made good, and of a mapping.
 */
#ifndef BEZOAR_TESTS_REPLACE_SEE_H
#define BEZOAR_TESTS_REPLACE_SEE_H

#include <bezoar/bezoar.h>
#include <stddef.h>

/* Be the former SIGBUS action: what is not saved comes here, and see_lost()
 * returns. Before bez_start(). */
void see_install(void);

/* live_start(), but no early notices: with real poison the worker would often
 * have replaced a page before the test could touch it. */
void see_start(uint32_t flags);

/*
 * Read one byte at @addr. 0: it could be read, *@ret_byte is it. 1: SIGBUS came
 * to the former action. Threads may do so at the same time.
 */
int see_lost(const void *addr, unsigned char *ret_byte);

/* The newest event whose address lies in the page of @addr; checks that there
 * is one. */
struct bez_event see_event(const void *addr);

/* see_lost() says lost, and why REPLACE failed is @why; the page stays so. */
void see_refused(const void *addr, enum bez_outcome why);

/* How many bytes of [@from, @to) of a buffer are not live_fill()'s. */
size_t see_wrong(const unsigned char *at, size_t from, size_t to,
		 unsigned int seed);

/* Send this thread the SIGBUS that the kernel would, with that siginfo. */
void see_report(const void *addr, int si_code, int lsb);

/*
 * Lose the page at @addr in memory that a child would not share (MADV_DONTFORK
 * and the like). With real poison the caller is told at once, by SIGBUS.
 */
void see_poison(void *addr);

/* Lose the page at @addr in one step, so that who reads it all the time comes
 * from good bytes right into the loss. Puts a mapping of its own there. */
void see_poison_at_once(void *addr);

/* A mapping as /proc/self/smaps has it. */
struct see_map {
	char perms[5];
	char name[96];
	char flags[160];		/* without sd: it changes by itself */
	unsigned long huge_kb;		/* AnonHugePages */
	unsigned long locked_kb;
	int pkey;
};

struct see_map see_map(const void *addr);

/* How many mappings and descriptors there are, and a line of
 * /proc/self/status, in kB ("VmRSS:"). */
size_t see_maps(void);
size_t see_fds(void);
unsigned long see_kb(const char *line);

/* Bytes of memory in the machine; to choose the size of a test by. */
size_t see_memory(void);

/* CLOCK_MONOTONIC. */
double see_seconds(void);

#endif

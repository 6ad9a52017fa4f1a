/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the broker share: memory that faults on every kernel, one
 * instruction that touches it, and a tracer who reads how a process died.
 */
#ifndef BEZOAR_TESTS_CHAIN_HELP_H
#define BEZOAR_TESTS_CHAIN_HELP_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "live.h"

/* A page behind the end of its file: a touch is BUS_ADRERR at that byte. */
unsigned char *chain_hole(void);

/*
 * Pages like those of live_pages(), at addresses that mmap(2) does not choose
 * by itself: what is unmapped in there stays so.
 */
unsigned char *chain_apart(size_t pages);

/* A page without access: a touch is SEGV_ACCERR. */
unsigned char *chain_closed(void);

/*
 * bez_start() without early notices: with them the worker replaces what
 * live_poison() loses in a region before anybody touches it, if the poison is
 * real.
 */
void chain_start(void);

/* Put an ordinary page of zeros at @page. */
void chain_mend(void *page);

/*
 * Read the byte at @addr by the instruction at chain_load_at, with a known
 * value in every register; ends by SIGILL if one of them is changed after it.
 */
unsigned char chain_load(const void *addr);
extern const char chain_load_at[];

/* How a process ended, as a parent sees it that traces it. */
struct chain_end {
	int status;		/* as of waitpid(2) */
	int stops;		/* times it was to get SIGBUS or SIGSEGV */
	siginfo_t info;		/* of the last of them */
	uint64_t pc;		/* where it was then */
	uint64_t sp;
};

/* Run @fn(@arg) in a traced child, then _exit(0). */
struct chain_end chain_trace(void (*fn)(void *), void *arg);

/* Both ended by the same signal: number, code, address, width, place. */
void chain_same_end(const struct chain_end *a, const struct chain_end *b);

/* Memory that children share with their parent, zeroed. */
void *chain_shared(size_t bytes);

/* Wait, at most 20 s, until @done(@arg). Fails the case otherwise. */
void chain_until(int (*done)(void *), void *arg, const char *what);

/* The bytes of a siginfo_t that the kernel writes. */
#define CHAIN_INFO_BYTES 48

/* A thread's signal mask as the kernel has it. */
uint64_t chain_mask(void);

#endif

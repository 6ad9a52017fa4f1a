/* SPDX-License-Identifier: MIT */
/*
 * Random campaigns: a *case* is one piece of memory with its attributes, its
 * source and its policy, and a list of *steps* that happen to it. It is plain
 * data, drawn from a seed, printed on one line and read back from it:
 *
 *	kind=hugetlb pages=2 digests=yes steps=lose:1:0,load:1:7
 *
 * A model beside the memory (camp_model.c) says after each step what every byte
 * must be, what is lost, and with which outcome a touch of that is refused.
 */
#ifndef BEZOAR_TESTS_CAMPAIGN_H
#define BEZOAR_TESTS_CAMPAIGN_H

#include <bezoar/bezoar.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ------------------------------------------- a case (campaign_case.c) */

enum camp_kind {
	CAMP_ANON,		/* private anonymous, of base pages */
	CAMP_THP,		/* the same in transparent huge pages */
	CAMP_STACK,		/* the same, and a thread stands on it */
	CAMP_MEMFD,		/* a private mapping of a memfd */
	CAMP_EXCLUSIVE,		/* shared memfd */
	CAMP_FENCED,
	CAMP_SHARED,		/* shared anonymous */
	CAMP_FILE,		/* a private mapping of a file that is cut */
	CAMP_SHARED_FILE,
	CAMP_HUGETLB,		/* private, 2 MiB */
	CAMP_HUGE_MEMFD,	/* a private mapping of a hugetlb memfd */
	CAMP_HUGE_SHARED,	/* a shared one */
	CAMP_KINDS
};

enum camp_prot { CAMP_RW, CAMP_R, CAMP_RWX };

enum camp_source {
	CAMP_MIRROR, CAMP_FROM_FILE, CAMP_CALLBACK, CAMP_DEFERRED,
	CAMP_LIST,		/* the first fails */
	CAMP_SALVAGE,		/* and a mirror after it */
	CAMP_ZERO
};

enum camp_op {
	CAMP_LOOK,		/* all bytes, all attributes */
	CAMP_LOSE,		/* and do not touch it */
	CAMP_LOAD, CAMP_STORE,	/* by a thread */
	CAMP_RUSH,		/* lose it; all threads load at once */
	CAMP_CROWD,		/* lose it; all threads store at once */
	CAMP_RACE,		/* lose it; while one thread loads, another
				 * discards it and writes it anew */
	CAMP_WRITE,		/* all of a page */
	CAMP_DISCARD,		/* MADV_DONTNEED, and write all of it */
	CAMP_PROTECT,		/* no access for a moment */
	CAMP_FORK,		/* a child looks, touches and loses */
	CAMP_CALL,		/* system calls on it */
	CAMP_AGAIN,		/* remove the region and add it */
	CAMP_REMAKE,		/* new memory */
	CAMP_SPOIL,		/* the source has other bytes from now on */
	CAMP_MEND,		/* it has the right ones again */
	CAMP_DIE,		/* a child touches what is refused */
	CAMP_OPS
};

struct camp_step {
	uint32_t op;			/* enum camp_op */
	uint32_t page;			/* modulo the case's pages */
	uint32_t arg;
};

#define CAMP_STEPS 400
#define CAMP_THREADS 4

/* Every field is a word or a number; 0 is the plain one. */
struct camp_case {
	uint32_t kind;			/* enum camp_kind */
	uint32_t pages;			/* of the kind's width */
	uint32_t prot;			/* enum camp_prot */
	uint32_t advice;		/* an index: camp_advice() */
	uint32_t lock, name, key, numa;	/* 0 or 1 */
	uint32_t copied;		/* private mapping of a file: none, every
					 * other, all pages */
	uint32_t mremap;		/* BEZ_START_NO_UFFD */
	uint32_t source;		/* enum camp_source */
	uint32_t digests;
	uint32_t mapped, base, detach;	/* BEZ_POLICY_* */
	uint32_t told;			/* bez_shared of a file on a disk */
	uint32_t threads;		/* more than one */
	uint32_t steps;
	struct camp_step step[CAMP_STEPS];
};

/* 64 bits of a sequence; *@state is the seed and moves on. */
uint64_t camp_random(uint64_t *state);

/* Case @number of @kind under @seed, with at most @steps. */
void camp_draw(uint64_t seed, enum camp_kind kind, uint32_t number,
	       uint32_t steps, struct camp_case *ret_case);

void camp_print(FILE *to, const struct camp_case *c);
/* 0, or -1: it is none; a reason is on stderr. Cuts @line. */
int camp_parse(char *line, struct camp_case *ret_case);
void camp_print_step(FILE *to, const struct camp_step *s);

/* Make field @i plain. 0: it was; -1: there are no more. */
int camp_make_plain(struct camp_case *c, uint32_t i);

int camp_advice(const struct camp_case *c);	/* MADV_*, or -1: none */
int camp_is_huge(const struct camp_case *c);
int camp_is_shared(const struct camp_case *c);
int camp_is_file(const struct camp_case *c);	/* on a disk: is cut */

/* ------------------------------------ one that runs (campaign_memory.c) */

struct camp_pool;

struct camp {
	struct camp_case c;		/* without what the machine refuses */
	size_t width, pages, len;	/* of a page of that kind, of all */
	size_t above;			/* where a thread stands on it: bytes
					 * that are its own */
	unsigned char *at;
	bez_region_t region;
	uint32_t shared_flags;		/* BEZ_SHARED_* */
	int fd;				/* behind it; or -1 */
	int key;			/* protection key; or -1 */
	struct camp_pool *pool;

	/* the model */
	unsigned char *truth;		/* what the bytes are */
	unsigned char *source;		/* what the source says; the mirror */
	unsigned char *zeros;
	int source_fd;			/* the same in a file */
	uint64_t *digests;		/* of truth */
	unsigned char *lost;		/* one for each page */
	unsigned char *apart;		/* its file does not have it any more,
					 * and it was replaced */
	size_t in_file;			/* pages that the file has */
	struct camp_see {
		char perms[5];
		char flags[160];
		char name[96];
		int pkey;
	} see;				/* what it was like when it was made */
};

/* What the runner sees of a case in its process. */
struct camp_progress {
	_Atomic uint32_t step;		/* it is at, or was at the end */
	_Atomic uint32_t losses, refused;
};

/* The memory, its region, threads; and away with them. */
void camp_open(struct camp *m);
void camp_close(struct camp *m);
void camp_region_add(struct camp *m);

/* Access as PROT_*, and what the case says it has. */
void camp_protect(struct camp *m, size_t from, size_t len, int prot);
int camp_prot(const struct camp *m);
/* Write, whatever access there is. */
void camp_write(struct camp *m, size_t from, const unsigned char *bytes,
		size_t len);
/* MADV_DONTNEED, of locked memory as well. */
void camp_drop(struct camp *m, size_t page);

/* ------------------------------------------------- losing (campaign_lose.c) */

/* 1: page @page is lost now. 0: it cannot be, just now. */
int camp_lose(struct camp *m, size_t page);
/* Huge pages that nobody has, nor was promised. */
/* Open what that needs, so that it is there before it is counted. */
void camp_lose_ready(void);

/* --------------------------------------------- the model (campaign_model.c) */

#define CAMP_SOURCE_AT 12288		/* in the file that is the source */

/* Bytes that tell where they are from; none is zero. */
void camp_pattern(unsigned char *at, size_t len, uint64_t seed);

/* Why a touch of this lost page is refused; NONE: it is replaced. */
enum bez_outcome camp_refusal(const struct camp *m, size_t page);

/* What is to be read of it now, or after it was replaced. */
const unsigned char *camp_expected(const struct camp *m, size_t page);

/* It was touched, and replaced if it was lost. */
void camp_touched(struct camp *m, size_t page);
/* truth changed at [@from, @from + @len): the source follows. */
void camp_changed(struct camp *m, size_t from, size_t len);
void camp_source_set(struct camp *m, size_t page, const unsigned char *from);

/* All bytes that are not lost are right; with @all, the lost ones, too. */
void camp_check(struct camp *m, int all);
/* The first, but for one page. */
void camp_check_others(struct camp *m, size_t but);
void camp_check_attributes(struct camp *m);
void camp_see(const struct camp *m, size_t page, struct camp_see *ret);

/* ------------------------------------------- threads (campaign_threads.c) */

typedef void (*camp_work)(struct camp *m, uint32_t thread, void *arg);

/* On a stack of its own, one thread stands above the memory. */
struct camp_pool *camp_pool_new(struct camp *m, uint32_t threads);
void camp_pool_end(struct camp_pool *p);

/* All threads do @work, as nearly at once as can be; or just one. */
void camp_all(struct camp *m, camp_work work, void *arg);
void camp_one(struct camp *m, uint32_t thread, camp_work work, void *arg);
uint32_t camp_threads(const struct camp *m);

/* --------------------------------------------------- steps (campaign_step.c) */

void camp_do(struct camp *m, const struct camp_step *s);
/* CAMP_FORK, CAMP_DIE (campaign_child.c) */
void camp_do_fork(struct camp *m, const struct camp_step *s, size_t page);
void camp_do_die(struct camp *m, const struct camp_step *s, size_t page);
/* Run @c in this process, which ends then. */
_Noreturn void camp_run(const struct camp_case *c);
extern struct camp_progress *camp_progress;

/* ------------------------------------------- running (campaign_shrink.c) */

struct camp_end {
	int failed;
	uint32_t step;			/* the last it was at */
	uint32_t losses, refused;
	char why[80];
};

/* Run @c in a process of its own, its output to @log. */
struct camp_end camp_run_apart(const struct camp_case *c, int log);

/* Make *@c as small as it still fails. How many runs that took. */
uint32_t camp_shrink(struct camp_case *c, struct camp_end *end);

#endif

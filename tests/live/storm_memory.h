/* SPDX-License-Identifier: MIT */
/*
 * The memory of the storm of all actions: areas of several kinds, each a region with
 * a policy of its own, whose pages are lost, touched, and cleared by their owner.
 */
#ifndef BEZOAR_TESTS_STORM_MEMORY_H
#define BEZOAR_TESTS_STORM_MEMORY_H

#include <bezoar/bezoar.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define AREA_PAGES	8

enum area_kind {
	AREA_ANON,
	AREA_FILE,			/* private, written since it was mapped; of a
					 * file with a name, which can be had again
					 * while a fork(2) takes long */
	AREA_SHARED,			/* a memfd of this process alone */
	AREA_HUGE,
	AREA_HUGE_FILE,			/* private, as AREA_FILE; of a memfd */
	AREA_HUGE_SHARED		/* as AREA_SHARED */
};

/* What can be had of its source, and what if that is nothing. */
enum area_policy {
	AREA_REPLACE,			/* always */
	AREA_REPLACE_OR_DIE,		/* at random; then the former action */
	AREA_REPLACE_OR_DEGRADE,	/* the same; then degrade */
	AREA_LIST_OR_DEGRADE,		/* of two that fail at random */
	AREA_DEFERRED_OR_DEGRADE,	/* at random, on the worker */
	AREA_DEGRADE,
	AREA_POLICIES,
	AREA_REPLACE_OR_END		/* at random; then a shutdown: storm_end.h */
};

struct area {
	enum area_kind kind;
	enum area_policy policy;
	unsigned char *at;
	const unsigned char *copy;
	size_t width, pages, len;
	int fd;
	char path[32];
	bez_region_t region;
	struct area_page {
		_Atomic uint32_t busy;	/* who loses it or writes it anew */
		_Atomic uint32_t seq;	/* odd while its owner writes it anew */
		_Atomic uint32_t lost;	/* how often */
	} page[AREA_PAGES];
};

/* What all sources that fail at random draw from. */
extern _Atomic uint64_t area_draws;

/* One after the other of a seed. */
uint64_t area_random(uint64_t *state);

/* With the content of live_fill(, , 0). No region yet. */
void area_make(struct area *a, enum area_kind kind);
void area_free(struct area *a);

/* Its region; @told is called of each loss. */
void area_add(struct area *a, enum area_policy policy, bez_lost_fn told);

int area_is_huge(const struct area *a);

/* May a touch of it say that it is lost? And is it in the inventory then? */
int area_may_be_lost(const struct area *a);
int area_degrades(const struct area *a);

/* 1, or 0: somebody else is. */
int area_take(struct area *a, size_t n);
void area_give(struct area *a, size_t n);

/* Lose page @n, in one step for who reads it, unless it is. The caller has taken
 * it. */
void area_lose(struct area *a, size_t n);

/* As its owner: open all that is lost in @count pages from @n on with its bytes, or
 * as zeros, and write it anew. The caller has taken them. What the library said. */
int area_clear(struct area *a, size_t n, size_t count);

/* Is @byte, read at @offset of the area, right? @seq: of the page, before. Zeros are
 * right only while its owner is at it. */
int area_right(const struct area *a, size_t offset, unsigned char byte,
	       uint32_t seq);
uint32_t area_seq(const struct area *a, size_t offset);

#endif

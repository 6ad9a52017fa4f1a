/* SPDX-License-Identifier: MIT */
/*
 * Beside the rooms: the hunt for words that point into what is lost. It runs in
 * normal context; only the answer of an asked thread is handler code (ask_sig.c).
 *
 *	hunt.c     options in, result out
 *	quarry.c   what is lost, sorted, and the few intervals around it
 *	where.c    which memory: ranges, regions, mappings, stacks, less our own
 *	maps.c     what /proc/self/maps says of it
 *	present.c  which pages of it there are
 *	scan.c     through it, by several threads
 *	note.c     what is found: replaced, counted, told
 *	ask.c      the registers of other threads
 *	kernel.c   scan_*.S: by vectors; any: by the loops of copy/scope_sig.c
 *	pieces.c   lists of address ranges
 *
 * Nothing here is allocated by malloc(3): what is written down are addresses that
 * are hunted, and freed memory would have them still. It lies in mappings that
 * core/own.h knows.
 */
#ifndef BEZOAR_HUNT_HUNT_H
#define BEZOAR_HUNT_HUNT_H

#include <bezoar/bezoar.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define BZ_HUNTERS	64u		/* most threads */
#define BZ_LANES	4u		/* scan_*.S know the number */

/* ------------------------------------------------------------- address ranges */

#define BZ_PIECE_READ	1u		/* may be read */
#define BZ_PIECE_WRITE	2u		/* and written */
#define BZ_PIECE_PRIVATE 4u		/* a private mapping */
#define BZ_PIECE_BARE	8u		/* what is not present there was never
					 * written, and reads as zeros */
#define BZ_PIECE_DEVICE	16u		/* to read it may do something */

struct bz_piece {
	uint64_t start, end;
	uint64_t first;			/* scan.c: number of its first chunk */
	uint32_t flags;
};

struct bz_pieces {
	struct bz_piece *at;
	size_t count, room;
	uint32_t own;
};

/* Memory of zeros that hunts leave out: NULL, or to be put with what *@ret_own
 * says. */
void *bz_hunt_get(size_t bytes, uint32_t *ret_own);
void bz_hunt_put(void *at, size_t bytes, uint32_t own);

/* Append; an empty one is not. 0 or -ENOMEM. */
int bz_pieces_add(struct bz_pieces *list, uint64_t start, uint64_t end,
		  uint32_t flags);
void bz_pieces_free(struct bz_pieces *list);

/* Sort by start, and make one of those that overlap. */
void bz_pieces_join(struct bz_pieces *list);

/*
 * Both joined: add what is in @a and in @b to @ret, with the flags of @b; or what
 * is in @a and not in @b, with those of @a. 0 or -ENOMEM.
 */
int bz_pieces_both(const struct bz_pieces *a, const struct bz_pieces *b,
		   struct bz_pieces *ret);
int bz_pieces_less(const struct bz_pieces *a, const struct bz_pieces *b,
		   struct bz_pieces *ret);
uint64_t bz_pieces_bytes(const struct bz_pieces *list);

/* The piece that has @addr, in a joined list; or NULL. */
const struct bz_piece *bz_pieces_find(const struct bz_pieces *list,
				      uint64_t addr);

/* What is mapped, by address. 0, -ENOMEM, or what open(2) or read(2) said. */
int bz_maps_read(struct bz_pieces *ret);

/* One line of it: 1, or 0: it is none. */
int bz_maps_line(const char *line, struct bz_piece *ret);

/* ------------------------------------------------------------ what is hunted */

/*
 * Read by scan_*.S: a word w may point to something lost if (w & mask) - lo[i] <
 * span[i], unsigned, for one i. What is lost lies in these intervals, and few of
 * what is not. slo and sspan: the same for a comparison that knows signed numbers
 * only. A span of 0 has nothing.
 */
struct bz_lanes {
	uint64_t mask;
	uint64_t lo[BZ_LANES];
	uint64_t span[BZ_LANES];
	uint64_t count;
	uint64_t slo[BZ_LANES];
	uint64_t sspan[BZ_LANES];
};

struct bz_quarry {
	struct bz_pieces extents;	/* joined */
	struct bz_pieces lost;		/* the whole inventory, joined */
	struct bz_lanes lanes;
	uint64_t generation;
};

/* 0, -EINVAL or -ENOMEM. To be freed in any case. */
int bz_quarry_take(const struct bez_hunt_options *o, struct bz_quarry *ret);
void bz_quarry_free(struct bz_quarry *q);

/* The extent that @value points into; or NULL. */
static inline const struct bz_piece *bz_quarry_has(const struct bz_quarry *q,
						   uint64_t value)
{
	return bz_pieces_find(&q->extents, value & q->lanes.mask);
}

/* ------------------------------------------------------------------- kernels */

#define BZ_BLOCK	256u		/* largest block of a kernel */

enum bz_skip { BZ_SKIP_ALL = 0, BZ_SKIP_HIT = 1, BZ_SKIP_FAULT = 2 };

struct bz_hunt_kernel {
	const char *name;
	uint32_t block;			/* bytes */
	int (*usable)(void);		/* by this processor */
	/*
	 * How many of the @bytes at @at, a multiple of the block, have no word that
	 * may be one: whole blocks. HIT: the next block has one, and is at
	 * @ret_block as it was when it was looked at. FAULT: it cannot be read.
	 */
	size_t (*skip)(const void *at, size_t bytes,
		       const struct bz_lanes *lanes, void *ret_block,
		       uint32_t *ret_why);
};

/* The best first, the portable one and NULL last. */
extern const struct bz_hunt_kernel *const bz_hunt_kernels[];

/* What hunts use: NULL, or one that a test wants. Written before they begin. */
extern const struct bz_hunt_kernel *bz_hunt_use;
const struct bz_hunt_kernel *bz_hunt_kernel(void);

/* 0: @at was @*expected and is @desired. -EAGAIN: it was not, *@expected is what it
 * was. -EFAULT: it is lost; with the door (x86-64) also if it is not mapped, or may
 * not be written. */
int bz_hunt_swap(uint64_t *at, uint64_t *expected, uint64_t desired);

/* Copy @len bytes of what may be unmapped meanwhile: how many, or a negative errno. */
long bz_hunt_fetch(void *dst, const void *src, size_t len);

/* Can bz_hunt_swap() live through what is unmapped? */
int bz_hunt_has_door(void);
/* This thread is one of a hunt's: it begins none. */
void bz_hunt_helps(void);

/* --------------------------------------------------------------- pages there */

/* Are all pages of it there, without a doubt? Of 4 MiB at most. */
int bz_present_all(uint64_t from, uint64_t end);

/* The next run of pages in [*@from, @end) that have been written or read, or are
 * swapped out: 1, and *@from is behind it; 0: there is none. @fd: pagemap; below 0:
 * all are taken for present. */
int bz_present_next(int fd, uint64_t *from, uint64_t end, uint64_t *ret_start,
		    uint64_t *ret_end);

/* The first of these, however far it is: as above. Where the kernel cannot tell at
 * once, all may be there. */
int bz_present_scan(int fd, uint64_t from, uint64_t end, uint64_t *ret_start,
		    uint64_t *ret_end);

/* ------------------------------------------------------------------- the hunt */

/* Counted by one hunter, without a lock. */
struct bz_bag {
	uint64_t found, replaced, changed, read_only, gone;
	uint64_t bytes, absent, skipped;
};

struct bz_hunt {
	struct bez_hunt_options o;
	struct bz_mm *mm;		/* stays when the library is stopped */
	struct bz_quarry quarry;
	struct bz_pieces spans;		/* what to look at */
	struct bz_pieces maps;
	uint64_t low, high;		/* our frames on the caller's stack: the
					 * part above @kept are its registers */
	uint64_t kept;
	const struct bz_hunt_kernel *kernel;
	int copied;			/* by bz_hunt_fetch() */
	int pagemap;			/* descriptor, or -1 */
	uint64_t chunks;
	uint32_t seen, unseen;		/* threads */
	struct bz_bag bag;		/* of the calling thread, then of all */

	_Atomic uint64_t next;		/* chunk; hunters */
	_Atomic uint64_t filled;	/* of o.found; hunters */
	_Atomic int32_t end;		/* negative errno: enough; hunters */
	pthread_mutex_t telling;	/* around o.fn */
};

/* The word @value at @at, or in register @reg of thread @tid. */
void bz_note(struct bz_hunt *h, struct bz_bag *bag, uint64_t *at,
	     uint64_t value, uint32_t flags, int32_t tid, uint32_t reg);

/* Fills h->spans; adds to the bag what is skipped. 0 or a negative errno.
 * @stacks: of threads. @more: memory of the call's. */
int bz_where(struct bz_hunt *h, const struct bz_pieces *stacks,
	     const struct bz_pieces *more);

/* Through h->spans. 0 or a negative errno. */
int bz_scan(struct bz_hunt *h);

/* A joined list of what could not be seen otherwise: the stack pointers of all
 * threads to the ends of their mappings. Registers are noted. */
int bz_ask_threads(struct bz_hunt *h, struct bz_pieces *ret_stacks);

/* ------------------------------------------------- other threads' registers */

#define BZ_ASKED	64u		/* at once */
#define BZ_GENERAL	34u
#define BZ_VECTOR	256u		/* words: 32 registers of 64 bytes */

/*
 * What one thread is asked for. state: number of the question << 2 | below.
 * ASKED: stored by who asks. To WRITING by compare-and-swap, by the thread that was
 * asked, in a handler; then DONE by the same. An answer that is too late finds
 * another number, and is none; one that is written just then keeps the slot.
 */
enum bz_asked_state { BZ_ASK_NONE = 0, BZ_ASK_ASKED = 1, BZ_ASK_WRITING = 2,
		      BZ_ASK_DONE = 3 };

struct bz_asked {
	_Atomic uint64_t state;
	uint64_t sp;
	uint32_t generals, vectors;	/* words */
	uint64_t general[BZ_GENERAL];
	uint64_t vector[BZ_VECTOR];
};

struct bz_asks {
	_Atomic uint32_t answers;	/* futex; the asked threads */
	/* where the extended state of the kernel's frame has what, by bits of
	 * XSTATE_BV; 0 bytes: not at all. Written before anybody is asked */
	struct { uint32_t bit, offset, bytes; } part[4];
	struct bz_asked slot[BZ_ASKED];
};

extern _Atomic(struct bz_asks *) bz_asks;	/* mapped once, and stays */

void bz_on_ask(int sig, siginfo_t *info, void *context);

#endif

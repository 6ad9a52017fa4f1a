/* SPDX-License-Identifier: MIT */
/*
 * What the files of the library share. inject.c is the only one that knows
 * them all: it asks map.c what the memory is, lets a back end put the poison
 * in, and keeps what that left in a token (token.c).
 *
 *	inject.c ── map.c	what memory is it
 *	         ├─ uffd.c ─┐
 *	         ├─ frame.c ┼─ fence.c ── probe.c, sys.c
 *	         ├─ file.c ─┘
 *	         └─ token.c
 */
#ifndef BEZOAR_INJECT_INTERNAL_H
#define BEZOAR_INJECT_INTERNAL_H

#include <bezoar/inject.h>

#include <stdbool.h>
#include <sys/types.h>

#define BZI_PUBLIC	__attribute__((visibility("default")))
#define BZI_MAX_PIECES	64	/* mappings that one injection may span */

/* ------------------------------------------------------------------ memory */

/* What [addr, addr + len) is; it is the same kind from end to end. */
struct bzi_memory {
	char *addr;
	size_t len;
	size_t page;		/* of the mapping: the huge page for hugetlb */
	bool shared;
	bool file;		/* of a file, a memfd or shared anonymous */
	bool huge;		/* hugetlb */
	bool locked;		/* mlock(2) */
	bool readable;
	unsigned int pieces;	/* mappings it consists of */
	char *starts[BZI_MAX_PIECES + 1]; /* cut to the range; the last: end */

	char *map_start, *map_end; /* of the first mapping */
	char *last_end;		/* of the last */

	/* of the first mapping, for TRUNCATE */
	uint64_t offset;	/* in the file, of addr */
	uint64_t dev, ino;
	char path[512];		/* "" if it is longer */
};

/*
 * -ENOMEM: a hole in it. -EOPNOTSUPP: mappings of different kinds, or too
 * many. -EINVAL: not aligned to the mapping's pages.
 */
int bzi_memory_of(void *addr, size_t len, struct bzi_memory *ret_memory);

static inline bool bzi_is_private_anon(const struct bzi_memory *m)
{
	return !m->shared && !m->file;
}

/* ------------------------------------------------------------------ tokens */

struct bzi_token {
	struct bzi_token *next;
	size_t self_len;	/* of the mapping that holds this */
	bez_inject_t id;
	uint32_t backend;
	uint32_t flags;
	char *addr;
	size_t len;
	size_t page;
	bool shared;

	char *copy;		/* what was there; NULL: none was needed */
	size_t copy_len;

	int fd;			/* TRUNCATE: the file; else -1 */
	uint64_t dev, ino;
	uint64_t cut, end;	/* its size now and before */

	uint64_t frames[];	/* MADV, HWPOISON_INJECT: physical page of each
				 * page; 0: unknown or given back */
};

/*
 * Tokens and copies are not inherited by children nor dumped. All functions
 * below want the lock held, and have signals blocked then. In a child, the first
 * lock empties the table. -ENOMEM; -EDEADLK: the thread is forking.
 */
int bzi_lock(void);
void bzi_unlock(void);

struct bzi_token *bzi_token_new(const struct bzi_memory *m, uint32_t backend,
				uint32_t flags);
void bzi_token_publish(struct bzi_token *t);
struct bzi_token *bzi_token_find(bez_inject_t id);
/* Frees a token, published or not, with its copy and its descriptor. */
void bzi_token_free(struct bzi_token *t);
/* Room for the copy: t->copy, t->copy_len. */
int bzi_token_room(struct bzi_token *t, size_t len, int prot);
/* The bytes of the token's range into new room, locked if they were. Faults
 * nothing in: what is missing stays zero. */
int bzi_token_copy(struct bzi_token *t, const struct bzi_memory *m);
void bzi_token_drop_copy(struct bzi_token *t);
/* What holds for all memory of ours: not for children, not for dumps. */
int bzi_hide(void *addr, size_t len);
/* Is any part of [addr, addr + len) memory that the lock or a call needs? */
bool bzi_stands_on(const void *addr, size_t len);

static inline size_t bzi_pages(const struct bzi_token *t)
{
	return t->len / t->page;
}

static inline bool bzi_wants_undo(const struct bzi_token *t)
{
	return !(t->flags & BEZ_INJECT_NO_UNDO);
}

/* ------------------------------------------------------------------- fence */

/*
 * A fenced range is registered with a userfaultfd of our own that is open for
 * one operation only: no descriptor to lose, to inherit or to mistake. A
 * thread that touches a missing page of it waits until the fence is down; a
 * system call gets EFAULT. The lock keeps signals blocked meanwhile.
 */
struct bzi_fence {
	int fd;
	uint64_t features;	/* UFFD_FEATURE_* of this kernel */
	char *addr;		/* NULL: down */
	size_t len;
	bool write_protected;
};

int bzi_fence_open(struct bzi_fence *f);
void bzi_fence_close(struct bzi_fence *f);

#define BZI_FENCE_WRITES	0x1u	/* may be write-protected too */
#define BZI_FENCE_SHARED	0x2u	/* pages in the page cache count as
					 * missing too */
/*
 * -EBUSY: another userfaultfd kept the range for a second. -EOPNOTSUPP: not
 * this kind of memory.
 */
int bzi_fence_up(struct bzi_fence *f, char *addr, size_t len, uint32_t flags);
/* Writers wait until the fence is down. */
int bzi_fence_stop_writes(struct bzi_fence *f);
/* Let go of the protection, but not of the threads that wait. */
int bzi_fence_forget_writes(struct bzi_fence *f);
void bzi_fence_down(struct bzi_fence *f);

/* Empty pages, locked ones too. */
int bzi_discard(void *addr, size_t len);
/* A marker onto every page of the memory, all fenced and missing. */
int bzi_fence_poison(struct bzi_fence *f, const struct bzi_memory *m);
/*
 * Good bytes onto one poisoned page inside the fence. 0 too if the page turns
 * out to be good or gone already: then it is left alone.
 */
int bzi_fence_place(struct bzi_fence *f, char *page, const char *bytes,
		    size_t len);
/* The token's copy back onto pages inside the fence that are missing or
 * poisoned: after a failure half-way. */
void bzi_fence_roll_back(struct bzi_fence *f, const struct bzi_token *t);
/* The token's copy back onto the pages that are still poisoned. */
int bzi_fence_undo(const struct bzi_token *t);

/* ------------------------------------------------------------------- probe */

/*
 * 0: good. -EHWPOISON: poisoned. -EFAULT: a touch gets SIGBUS for another
 * reason: past the end of its file, or missing inside a fence. Or why nothing
 * can be said: -ENOMEM, nothing is mapped.
 */
int bzi_probe(char *page);
/* How many of the pages give this answer. */
uint64_t bzi_count(char *addr, size_t len, size_t page, int answer);
/* Does the kernel know of memory failures, and may it handle one? */
bool bzi_memory_failure(void);
bool bzi_would_panic(void);
/* The physical page numbers; 0 where they are not told. */
void bzi_frames(char *addr, size_t len, size_t page, uint64_t *ret_frames);
/* Is it marked as poisoned? Yes, if we are not told. */
bool bzi_frame_is_bad(uint64_t frame);

/* --------------------------------------------------------------- back ends */

/*
 * put: poison what the token says; on failure nothing has changed, and the
 * caller frees the token. undo: may be called again after a failure.
 * available: as bez_inject_available().
 */
struct bzi_backend {
	const char *name;
	uint32_t fidelity;
	int (*available)(void);
	int (*put)(const struct bzi_memory *m, struct bzi_token *t);
	int (*undo)(struct bzi_token *t);
};

extern const struct bzi_backend bzi_uffd, bzi_madv, bzi_file, bzi_hwpoison;

/* NULL for AUTO and unknown numbers. */
const struct bzi_backend *bzi_backend_of(uint32_t backend);

int bzi_available(uint32_t backend);

/* hwpoison.c: debugfs. */
int bzi_can_corrupt(void);
bool bzi_can_unpoison(void);
int bzi_corrupt_frame(uint64_t frame);
int bzi_unpoison_frame(uint64_t frame);

/* frame.c: the frames that this token poisoned will not be given back. */
void bzi_keep_frames(const struct bzi_token *t);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Shared memory: a page is claimed by a lock of its range of the file, which other
 * processes see and the kernel takes back from one that dies; and everybody who
 * maps the file stands behind a fence, a userfaultfd that answers a touch of a
 * hole with SIGBUS. What is still a hole once the lock is had, nobody finished.
 *
 *	lock  F_OFD_SETLK    the others wait
 *	look  MADV_POPULATE_READ asks; where it says poison, MADV_DONTNEED drops
 *	                     this process's own entry, which would stay though the
 *	                     file were good again, and it is asked again
 *	punch                takes the bad page out of the file
 *	fill  UFFDIO_COPY    through the fence, in one piece
 *	unlock
 *
 * Who does not get the lock at once says so, by a lock far behind the file's end
 * (BZ_SHARE_SAID): readers that find that wait, or those of them that come and go
 * all the time would keep him out for ever.
 */
#ifndef BEZOAR_REPAIR_SHARE_H
#define BEZOAR_REPAIR_SHARE_H

#include <bezoar/shared.h>

#include "core/mm.h"
#include "repair/repair.h"
#include "types.h"

#define BZ_SHARE_SAID	((uint64_t)1 << 62)	/* added to the offset */

/* ------------------------------------------------ normal context (share.c) */

/*
 * Look at the memory from @start to @end and the file that @said names, open it
 * anew, raise the fence. The caller's, until bz_share_close(). Errors:
 * bezoar/shared.h.
 */
int bz_share_open(struct bz_mm *mm, uint64_t start, uint64_t end,
		  const struct bez_shared *said, struct bz_share **ret_share);

/* @share may be NULL. Lowers the fence. */
void bz_share_close(struct bz_mm *mm, struct bz_share *share);

/* Children of fork(2) make those anew that are listed. All under the regions'
 * lock; a fence is one's alone. */
int bz_share_overlaps(uint64_t start, uint64_t end);
void bz_share_list(struct bz_share *share);
void bz_share_unlist(struct bz_share *share);
void bz_share_forked(struct bz_mm *mm);

/* ----------------------------------------------------------- handler-safe */

/* A range of the file that this process has. */
struct bz_share_claim {
	struct bz_mm *mm;
	struct bz_walk *walk;		/* where the lock is written down */
	struct bz_share *share;
	struct bz_extent x;
	uint64_t in_file;		/* where x begins */
	uint64_t size;			/* of the file; UINT64_MAX: nobody has
					 * looked yet, or there is none */
	int fence;			/* its descriptor; -1: on a disk */
};

/*
 * Claim @x of the file for this process, at most until @deadline_ns of the
 * clock. BEZ_OUTCOME_NONE, or why not.
 */
enum bez_outcome bz_share_lock(struct bz_mm *mm, struct bz_walk *w,
			       struct bz_share *share, struct bz_extent x,
			       uint64_t deadline_ns,
			       struct bz_share_claim *ret_claim);
void bz_share_unlock(const struct bz_share_claim *claim);

enum bz_look {
	BZ_LOOK_GOOD,		/* the file has a good page there, or nobody
				 * may look */
	BZ_LOOK_LOST,		/* poison */
	BZ_LOOK_HIDDEN,		/* the same, and the file may have a hole there:
				 * huge, before Linux 5.18 */
	BZ_LOOK_HOLE,		/* nothing, and somebody should have filled it */
	BZ_LOOK_CUT,		/* the file ends before it */
	BZ_LOOK_UNREADABLE,	/* its disk says so */
	BZ_LOOK_UNMAPPED,
	BZ_LOOK_OTHER		/* the kernel does not tell */
};

/* How is the file there? */
enum bz_look bz_share_look(const struct bz_share_claim *claim);

/*
 * Put x.width bytes of @from into the file there. @lost: a bad page is to be
 * punched out first. @reread: the file itself has the good bytes; only the entry
 * that hides them has to go. On anything but BEZ_OUTCOME_NONE it is as closed as
 * before, lost or a hole behind the fence.
 */
enum bez_outcome bz_share_put(struct bz_share_claim *claim,
			      const void *from, int lost, int reread);

/*
 * The file again in the place of a cover that lies over claim->x, in one step, with
 * x.width bytes of @from where it has none that are good; @over: in any case. NONE,
 * ALREADY_GOOD (those that it has are there, or @from over them), or why not:
 * REFUSED_DETACH: the file ends before it. @scratch: a page. src/repair/rejoin_sig.c.
 */
enum bez_outcome bz_share_rejoin(const struct bz_share_claim *claim,
				 const void *from, int over, void *scratch,
				 bz_taken_fn taken);

/* ------------------------------------------------- the fence (fence_sig.c) */

/* Register @share, open the fence if there is none. 0 or negative. */
long bz_fence_raise(struct bz_mm *mm, struct bz_share *share);
void bz_fence_lower(struct bz_mm *mm, const struct bz_share *share);
void bz_fence_close(struct bz_mm *mm);
/* In a child of fork(2): the one it inherited. */
void bz_fence_close_inherited(void);

/* Its descriptor, raised again for @share if the program has closed it; or -1:
 * @share is another address space's, or it cannot be raised. */
int bz_fence_of(struct bz_mm *mm, struct bz_share *share);
/* Has @fd, which was that, been the fence around @share until now? */
int bz_fence_stands(struct bz_mm *mm, const struct bz_share *share, int fd);

#endif

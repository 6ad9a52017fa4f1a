/* SPDX-License-Identifier: MIT */
/*
 * Register just the lost page for missing faults, so that whoever touches it
 * from now on waits in the kernel; take the poison entry out; copy the new
 * page in, which wakes them; unregister, and the mappings merge back. Works on
 * real poison and on markers (6.12, 6.18), changes no attribute of the
 * mapping and needs no memory but the page.
 *
 * The order matters: the page is emptied only after it was registered, for a
 * page that is empty and not registered reads as zeros.
 */
#include "repair/uffd.h"

#include "core/core.h"
#include "repair/staged.h"

#define BUSY_WAIT_NS	1000000000u	/* another context holds the range */
#define BUSY_NAP_NS	50000u
#define COPY_TRIES	100
#define GONE_TRIES	64

long bz_uffd_register(int fd, struct bz_extent x, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { .start = x.start, .len = x.width },
		.mode = mode,
	};
	_Atomic uint32_t nobody = 0;
	uint64_t end = 0, now;
	long r;

	for (;;) {
		r = bz_ioctl(fd, UFFDIO_REGISTER, &reg);
		if (r != -EBUSY && r != -EAGAIN)
			return r;
		/* somebody who poisons the page, say, is nearly done; but we
		 * may have taken his processor, or he sleeps in the kernel
		 * where it looks for who else has the page */
		now = bz_now_ns();
		if (!end)
			end = now + BUSY_WAIT_NS;
		if (now >= end)
			return r;
		bz_futex_wait(&nobody, 0, BUSY_NAP_NS);
	}
}

/*
 * Also wakes who waits: those fault again. Tried again whatever went wrong:
 * where it stays registered, the next to touch an empty page waits for ever.
 * The kernel wakes before it shuts the door, and takes a poison marker for a
 * hole when it looks whether to wait; and a page that was put in may have been
 * discarded since. So whoever came late is woken afterwards.
 */
void bz_uffd_unregister(int fd, struct bz_extent x)
{
	struct uffdio_range range = { .start = x.start, .len = x.width };
	uint32_t i;

	for (i = 0; i < COPY_TRIES; i++)
		if (!bz_ioctl(fd, UFFDIO_UNREGISTER, &range))
			break;
	bz_ioctl(fd, UFFDIO_WAKE, &range);
}

long bz_uffd_copy(int fd, struct bz_extent x, const void *stage)
{
	struct uffdio_copy c = { .dst = x.start, .src = (uint64_t)stage,
				 .len = x.width };
	uint32_t i;
	long r;

	for (i = 0; i < COPY_TRIES; i++) {
		r = bz_ioctl(fd, UFFDIO_COPY, &c);
		if (r != -EAGAIN && r != -ENOMEM && r != -EINTR)
			return r;
		bz_yield();
	}
	return r;
}

/*
 * The page is empty and could not be filled. It may not be left to read as
 * zeros: poison again, or no access, or a mapping in its place that has none. A
 * kernel that refuses even that leaves one way to hand out no wrong byte.
 */
void bz_uffd_close_page(int fd, struct bz_extent x)
{
	struct uffdio_poison p = { .range = { .start = x.start,
					      .len = x.width } };

	if (bz_ioctl(fd, UFFDIO_POISON, &p) &&
	    bz_sys(SYS_mprotect, (long)x.start, (long)x.width, PROT_NONE, 0, 0,
		   0) &&
	    bz_mmap(x.start, x.width, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		    -1) != (long)x.start)
		bz_sys(SYS_kill, bz_sys0(SYS_getpid), SIGKILL, 0, 0, 0, 0);
}

/*
 * Something is there although we emptied the place. A poison entry that
 * MADV_FREE leaves (before 6.1), or a page that is bad and mapped: out with
 * it. Or a page that the program discarded and wrote anew after we had looked:
 * that one stays. pagemap(5) tells without a fault: one that found nothing
 * there would wait for ourselves. A process that has changed its user may not
 * read that of itself; then move_pages(2), that moves nothing. (smaps(5) counts a
 * poison entry like a page.) -1: nobody says.
 */
static int is_resident(const struct bz_placing *p)
{
	const void *page = (const void *)p->x.start;
	int node = -EFAULT;
	long r = bz_sys(SYS_move_pages, 0, 1, (long)&page, 0, (long)&node, 0);

	if (r)				/* no NUMA, or a filter */
		return -1;
	/* EFAULT: the zero page, or no mapping any more */
	return node >= 0 ? 1 : node == -ENOENT ? 0 : -1;
}

static int is_news(const struct bz_placing *p)
{
	struct bz_extent x = p->x;
	uint64_t entry;
	long fd = bz_openat("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return is_resident(p);
	r = bz_pread((int)fd, &entry, sizeof(entry),
		     (x.start >> bz_core.page_shift) * sizeof(entry));
	bz_close((int)fd);
	if (r != (long)sizeof(entry))
		return -1;
	return (int)(entry >> 63);	/* present */
}

/* 5.18; before that, what is locked cannot be emptied. */
long bz_discard(struct bz_extent x)
{
	long r = bz_madvise(x.start, x.width, MADV_DONTNEED_LOCKED);

	if (r == -EINVAL)
		r = bz_madvise(x.start, x.width, MADV_DONTNEED);
	return r;
}

/*
 * Take the poison entry out. MADV_FREE does it on private anonymous memory
 * (6.1 and later) and refuses every other kind, and leaves alone what the program
 * may have put there meanwhile. Where it is known what memory it is, and that it
 * refuses that kind, it is looked for such news before all is thrown away;
 * none comes any more: who wants to put something there waits.
 */
static enum bz_placed empty(const struct bz_placing *p, int again)
{
	struct bz_extent x = p->x;
	int news;

	if (p->memory.kind == BZ_MEMORY_UNKNOWN ||
	    (p->memory.kind == BZ_MEMORY_ANON && x.width == bz_core.page)) {
		if (!bz_madvise(x.start, x.width, MADV_FREE))
			return BZ_PLACED;
		if (p->memory.kind == BZ_MEMORY_UNKNOWN)
			return BZ_PLACED_NOT_HERE;
	}
	if (!p->mapped && !again) {
		news = is_news(p);
		if (news)
			return news > 0 ? BZ_PLACED_GOOD : BZ_PLACED_NOT_HERE;
	}
	return bz_discard(x) ? BZ_PLACED_NOT_HERE : BZ_PLACED;
}

/* No huge page is to be had. Whoever came meanwhile waits in the kernel for a
 * mapping that is not there any more. */
static int with_base_pages(int fd, const struct bz_placing *p)
{
	struct uffdio_range range = { .start = p->x.start,
				      .len = p->x.width };

	if (!p->base_pages || p->x.width == bz_core.page ||
	    bz_staged_place(p, BZ_STAGED_BASE_WATCHED) != BEZ_OUTCOME_NONE)
		return 0;
	bz_ioctl(fd, UFFDIO_WAKE, &range);
	return 1;
}

/*
 * Something is there all the same, says the kernel. Of a huge page, which was
 * emptied and is watched, that only means that there is no other (6.18).
 */
static long copy_again(int fd, const struct bz_placing *p)
{
	long gone, r;

	if (p->x.width > bz_core.page)
		return -ENOMEM;
	gone = bz_discard(p->x);
	r = bz_uffd_copy(fd, p->x, p->stage);
	return r == -EEXIST && !gone ? -EIO : r;
}

static enum bz_placed fill(struct bz_mm *mm, int fd, const struct bz_placing *p,
			   int again)
{
	struct bz_extent x = p->x;
	long r = bz_uffd_copy(fd, x, p->stage);

	if (r == -EEXIST) {
		/* what is there after a first time is zeros, or less */
		if (!p->mapped && !again && is_news(p) > 0)
			return BZ_PLACED_GOOD;
		r = copy_again(fd, p);
	}
	if (!r)
		return BZ_PLACED;
	/* closed by the program after it was registered: nobody watches the
	 * empty page now, so this must be quick */
	if (!bz_uffd_ours(mm, fd))
		return BZ_PLACED_GONE;
	if (r == -EEXIST)		/* the entry would not go: still closed */
		return BZ_PLACED_NOT_HERE;
	if (r == -ENOENT)
		return BZ_PLACED_UNMAPPED;
	if (r != -ENOMEM && r != -ENOSPC) {
		bz_uffd_close_page(fd, x);
		return r == -EFAULT ? BZ_PLACED_SOURCE : BZ_PLACED_SYSTEM;
	}
	if (with_base_pages(fd, p))
		return BZ_PLACED;
	bz_uffd_close_page(fd, x);
	return BZ_PLACED_NOMEM;
}

/*
 * In a private mapping of a memory file nothing is missing as long as the file
 * has the page: without MINOR (5.13; tmpfs: 5.14) who comes while it is empty
 * would read that, and not what the program had put there. Where the kernel has no
 * MINOR, this way does not work.
 */
static uint64_t mode_for(const struct bz_placing *p)
{
	return p->memory.kind == BZ_MEMORY_PRIVATE ?
	       UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR :
	       UFFDIO_REGISTER_MODE_MISSING;
}

static enum bz_placed place(struct bz_mm *mm, int fd,
			    const struct bz_placing *p, int again)
{
	long err = bz_uffd_register(fd, p->x, mode_for(p));
	enum bz_placed r;

	if (err == -ENOMEM)
		return BZ_PLACED_MAPS;
	if (err)
		return bz_uffd_ours(mm, fd) ? BZ_PLACED_NOT_HERE : BZ_PLACED_AGAIN;
	r = empty(p, again);
	if (r == BZ_PLACED)
		r = fill(mm, fd, p, again);
	bz_uffd_unregister(fd, p->x);
	/* we had offered it to the kernel as free: it is not */
	if (r == BZ_PLACED_GOOD)
		bz_madvise(p->x.start, p->x.width, MADV_POPULATE_WRITE);
	return r;
}

/*
 * A program that closes our descriptor while a page is empty takes the fence
 * away. That cannot be prevented, only be mended at once with a new one;
 * bezoar.h says so.
 */
enum bz_placed bz_uffd_place(struct bz_mm *mm, const struct bz_placing *p)
{
	enum bz_placed r = BZ_PLACED_NOT_HERE;
	int open = 0, fd = -1;
	uint32_t i;

	for (i = 0; i < GONE_TRIES; i++) {
		fd = bz_uffd_get(mm);
		r = fd < 0 ? BZ_PLACED_NOT_HERE : place(mm, fd, p, open);
		open |= r == BZ_PLACED_GONE;
		if (r != BZ_PLACED_GONE && r != BZ_PLACED_AGAIN)
			break;
	}
	if (!open)
		return r == BZ_PLACED_AGAIN ? BZ_PLACED_NOT_HERE : r;
	if (r == BZ_PLACED || r == BZ_PLACED_NOMEM ||
	    r == BZ_PLACED_SOURCE || r == BZ_PLACED_SYSTEM)
		return r;
	/* neither filled nor closed yet */
	bz_uffd_close_page(fd, p->x);
	return BZ_PLACED_SYSTEM;
}

/* SPDX-License-Identifier: MIT */
/* The userfaultfd of a process: opened when it is wanted, found again, told from what
 * the program may have put under its number since. */
#include "repair/uffd.h"

#include "core/core.h"

#define LOCK_TRIES	100000
#define OPEN_TRIES	4
#define CLOSED		(-2)
#define MINOR_FAULTS	(UFFD_FEATURE_MINOR_SHMEM | \
			 UFFD_FEATURE_MINOR_HUGETLBFS)
#define HIGH_FD		1000		/* out of the way of programs that
					 * count on low numbers */

static long raise_fd(int fd)
{
	long high = bz_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, HIGH_FD, 0, 0, 0);

	if (high < 0)			/* a low limit: then it stays */
		return fd;
	bz_close(fd);
	return high;
}

/* Full mode first: system calls that hit the page wait, too. */
static long open_any(uint32_t *ret_placement)
{
	long dev, fd;

	*ret_placement = BEZ_PLACEMENT_UFFD;
	fd = bz_sys(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0, 0);
	if (fd >= 0)
		return fd;
	dev = bz_openat("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = bz_ioctl((int)dev, USERFAULTFD_IOC_NEW,
			      (void *)(long)(O_CLOEXEC | O_NONBLOCK));
		bz_close((int)dev);
		if (fd >= 0)
			return fd;
	}
	*ret_placement = BEZ_PLACEMENT_UFFD_USER;
	return bz_sys(SYS_userfaultfd,
		      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, 0, 0, 0, 0,
		      0);
}

/*
 * UFFDIO_POISON is wanted to close a page again when a copy fails (6.6), minor
 * faults for private memory files (5.14). Without them the rest works. A refused
 * handshake may be repeated.
 */
static long handshake(int fd, uint64_t features, uint32_t *ret_closes)
{
	static const uint64_t wanted[] = {
		UFFD_FEATURE_POISON | MINOR_FAULTS, MINOR_FAULTS, 0,
	};
	long r = -EINVAL;
	uint32_t i;

	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct uffdio_api api = { .api = UFFD_API,
					  .features = features | wanted[i] };

		r = bz_ioctl(fd, UFFDIO_API, &api);
		*ret_closes = !r && (wanted[i] & UFFD_FEATURE_POISON);
		if (!r || r == -EBADF)
			break;
	}
	return r;
}

long bz_uffd_new(uint64_t features, uint32_t *ret_placement,
		 uint32_t *ret_closes)
{
	long fd = open_any(ret_placement), r;

	if (fd < 0)
		return fd;
	r = handshake((int)fd, features, ret_closes);
	if (!r)
		r = bz_sys(SYS_fcntl, fd, F_SETOWN, bz_sys0(SYS_getpid), 0, 0,
			   0);
	if (!r)
		return raise_fd((int)fd);
	if (r != -EBADF)		/* else somebody has closed it */
		bz_close((int)fd);
	return r;
}

/* Returns the number, -1 for good, or CLOSED: the program closed it before it
 * was ready. Called by one thread at a time. */
static int32_t open_new(struct bz_mm *mm)
{
	int32_t pid = (int32_t)bz_sys0(SYS_getpid);
	uint32_t placement, closes = 0;
	long fd = bz_uffd_new(0, &placement, &closes);

	if (fd < 0)
		return fd == -EBADF ? CLOSED : -1;
	atomic_store(&mm->placement, placement);
	atomic_store(&mm->uffd_closes, closes);
	atomic_store(&mm->uffd_pid, pid);
	atomic_store(&bz_core.uffd_pid, pid);
	return (int32_t)fd;
}

/*
 * Is @fd still what was opened by process @pid under that number? The owner of
 * F_SETOWN stays with the open file, and nobody else names one for a
 * userfaultfd, which never signals. It says whose memory the descriptor works
 * on, too: a child that shares the table of descriptors, and not the memory, may
 * have one of its own under the same number. Where the kernel does not say (a
 * filter of system calls), what is there is taken for what we put there.
 */
int bz_uffd_is_of(int fd, int32_t pid)
{
	long r = bz_sys(SYS_fcntl, fd, F_GETOWN, 0, 0, 0, 0);

	return r == pid || (r < 0 && r != -EBADF);
}

int bz_uffd_ours(struct bz_mm *mm, int fd)
{
	return bz_uffd_is_of(fd, atomic_load_explicit(&mm->uffd_pid,
						      memory_order_relaxed));
}

void bz_uffd_close_inherited(void)
{
	int32_t fd = atomic_exchange(&bz_core.uffd_last, 0) - 1;

	if (fd >= 0 && bz_uffd_is_of(fd, atomic_load(&bz_core.uffd_pid)))
		bz_close(fd);
}

/*
 * uffd_busy orders openers; it is held for a few system calls that do not
 * wait, by threads that keep their signals off. Still nobody waits for ever:
 * who does not get it places the page the other way.
 */
int bz_uffd_lock(struct bz_mm *mm)
{
	uint32_t i, free;

	for (i = 0; i < LOCK_TRIES; i++) {
		free = 0;
		if (atomic_compare_exchange_strong(&mm->uffd_busy, &free, 1))
			return 0;
		bz_yield();
	}
	return -EBUSY;
}

void bz_uffd_open(struct bz_mm *mm)
{
	if (bz_uffd_lock(mm))
		return;
	if (!atomic_load(&mm->uffd)) {
		int32_t fd = -1;

		if (!(bz_core.flags & BEZ_START_NO_UFFD))
			fd = open_new(mm);
		atomic_store(&bz_core.uffd_last, fd < 0 ? 0 : fd + 1);
		if (fd == -1)
			atomic_store(&mm->placement, BEZ_PLACEMENT_MREMAP);
		if (fd != CLOSED)
			atomic_store(&mm->uffd, fd < 0 ? -1 : fd + 1);
	}
	atomic_store(&mm->uffd_busy, 0);
}

void bz_uffd_close(struct bz_mm *mm)
{
	int32_t fd = atomic_exchange(&mm->uffd, 0) - 1;

	if (fd < 0)
		return;
	atomic_store(&bz_core.uffd_last, 0);
	if (bz_uffd_ours(mm, fd))
		bz_close(fd);
}

/* The program may have closed it, and the number may be another file's now:
 * a userfaultfd of the program's own would let its handler serve our page. */
int bz_uffd_get(struct bz_mm *mm)
{
	uint32_t i;

	for (i = 0; i < OPEN_TRIES; i++) {
		int32_t fd = atomic_load(&mm->uffd);

		if (fd < 0)
			return -1;
		if (fd && bz_uffd_ours(mm, fd - 1))
			return fd - 1;
		if (fd)
			atomic_compare_exchange_strong(&mm->uffd, &fd, 0);
		bz_uffd_open(mm);
	}
	return -1;
}

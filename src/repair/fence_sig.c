/* SPDX-License-Identifier: MIT */
#include "repair/share.h"

#include "core/core.h"
#include "repair/uffd.h"

#define FEATURES (UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM | \
		  UFFD_FEATURE_MISSING_HUGETLBFS)

#define LOWER_TRIES 100

static int is_ours(struct bz_mm *mm, int fd)
{
	return fd >= 0 && bz_uffd_is_of(fd, atomic_load(&mm->fence_pid));
}

/* The lock is held. */
static int open_fence(struct bz_mm *mm)
{
	int32_t fd = atomic_load(&mm->fence) - 1;
	int32_t pid = (int32_t)bz_sys0(SYS_getpid);
	uint32_t placement, closes;

	if (is_ours(mm, fd))
		return fd;
	fd = (int32_t)bz_uffd_new(FEATURES, &placement, &closes);
	if (fd < 0)
		return fd;
	atomic_store(&mm->fence_pid, pid);
	atomic_store(&bz_core.fence_pid, pid);
	atomic_store(&bz_core.fence_last, fd + 1);
	atomic_store(&mm->fence_nr, atomic_fetch_add(&bz_core.fences, 1) + 1);
	if (!atomic_load(&mm->fence_first))
		atomic_store(&mm->fence_first, atomic_load(&mm->fence_nr));
	atomic_store(&mm->fence, fd + 1);
	return fd;
}

long bz_fence_raise(struct bz_mm *mm, struct bz_share *share)
{
	struct bz_extent all = { share->start, share->end - share->start };
	long r = bz_uffd_lock(mm);
	uint32_t nr;
	int fd;

	if (r)
		return r;
	fd = open_fence(mm);
	nr = atomic_load(&mm->fence_nr);
	atomic_store(&mm->uffd_busy, 0);
	if (fd < 0)
		return fd;
	r = bz_uffd_register(fd, all, UFFDIO_REGISTER_MODE_MISSING);
	if (!r)
		atomic_store(&share->fenced, nr);
	return r;
}

void bz_fence_lower(struct bz_mm *mm, const struct bz_share *share)
{
	struct uffdio_range range = { .start = share->start,
				      .len = share->end - share->start };
	int fd = atomic_load(&mm->fence) - 1;
	uint32_t i;

	/* it is not known here any more, but it would be there for ever */
	for (i = 0; i < LOWER_TRIES && bz_fence_stands(mm, share, fd); i++)
		if (!bz_ioctl(fd, UFFDIO_UNREGISTER, &range))
			break;
}

void bz_fence_close(struct bz_mm *mm)
{
	int fd = atomic_exchange(&mm->fence, 0) - 1;

	atomic_store(&bz_core.fence_last, 0);
	if (is_ours(mm, fd))
		bz_close(fd);
}

void bz_fence_close_inherited(void)
{
	int fd = atomic_exchange(&bz_core.fence_last, 0) - 1;

	if (fd >= 0 && bz_uffd_is_of(fd, atomic_load(&bz_core.fence_pid)))
		bz_close(fd);
}

int bz_fence_stands(struct bz_mm *mm, const struct bz_share *share, int fd)
{
	return is_ours(mm, fd) &&
	       atomic_load(&share->fenced) == atomic_load(&mm->fence_nr);
}

int bz_fence_of(struct bz_mm *mm, struct bz_share *share)
{
	int fd = atomic_load(&mm->fence) - 1;

	/* A child that was not made by fork(2) shares the open file with its
	 * parent, and a lock would shut out neither. */
	if (share->owner != atomic_load(&mm->fence_first))
		return -1;
	if (bz_fence_stands(mm, share, fd))
		return fd;
	if (bz_fence_raise(mm, share))
		return -1;
	return atomic_load(&mm->fence) - 1;
}

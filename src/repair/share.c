/* SPDX-License-Identifier: MIT */
#include "repair/share.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "core/core.h"
#include "repair/attrs.h"

#define HIGH_FD 1000

static struct bz_share *listed;		/* under the regions' lock */

/* A descriptor of its own for the file behind @fd, for reading and writing. */
static int open_again(int fd)
{
	char path[32];
	int ret, high;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = (int)bz_openat(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (ret < 0)			/* it is open, so that is missing */
		return ret == -ENOENT ? -ENOSYS : ret;
	high = (int)bz_sys(SYS_fcntl, ret, F_DUPFD_CLOEXEC, HIGH_FD, 0, 0, 0);
	if (high < 0)			/* a low limit: then it stays */
		return ret;
	bz_close(ret);
	return high;
}

/* One mapping after the other: all of one file, and one piece of it. */
static int look_at_memory(struct bz_share *share)
{
	char scratch[4096] __attribute__((aligned(8)));
	uint64_t at;
	int r;

	for (at = share->start; at < share->end;) {
		struct bz_attrs a;

		r = bz_attrs_read(at, scratch, &a);
		if (r)
			return r == -ENOENT ? -ENOMEM : r;
		if (a.memory.kind != BZ_MEMORY_SHARED || !a.ino)
			return -EINVAL;
		if (at == share->start) {
			share->memory = a.memory;
			share->dev = a.dev;
			share->ino = a.ino;
			if (share->fd < 0)
				share->offset = a.offset + (at - a.start);
		}
		if (a.memory.shift != share->memory.shift ||
		    a.dev != share->dev || a.ino != share->ino ||
		    a.offset + (at - a.start) !=
		    share->offset + (at - share->start))
			return -EINVAL;
		at = a.end;
	}
	if ((share->start | share->end) &
	    (((uint64_t)1 << share->memory.shift) - 1))
		return -EINVAL;
	return 0;
}

/* What cannot be punched cannot be replaced. Others may cut it or make it longer,
 * which is a loss of another kind. */
static int look_at_seals(int fd)
{
	long seals = bz_sys(SYS_fcntl, fd, F_GET_SEALS, 0, 0, 0, 0);

	return seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) ?
	       -EPERM : 0;
}

/* Nothing may be missing: a hole is what tells that a repair did not finish. */
static int look_for_holes(const struct bz_share *share)
{
	uint64_t len = share->end - share->start;
	long hole;

	hole = bz_sys(SYS_lseek, share->fd, (long)share->offset, SEEK_HOLE, 0,
		      0, 0);
	if (hole < 0)
		return hole == -ENXIO ? -ENODATA : (int)hole;
	return (uint64_t)hole < share->offset + len ? -ENODATA : 0;
}

/*
 * Is it the file that is mapped there? Some file systems (btrfs, overlayfs) call
 * a file by other numbers in fstat(2) than in /proc; so it is mapped once more.
 */
static int is_mapped_there(struct bz_share *share)
{
	char scratch[4096] __attribute__((aligned(8)));
	uint64_t len = (uint64_t)1 << share->memory.shift;
	struct bz_attrs a;
	long at;
	int r;

	at = bz_sys(SYS_mmap, 0, (long)len, PROT_NONE,
		    MAP_SHARED | MAP_NORESERVE, share->fd, (long)share->offset);
	if (at < 0 && at > -4096)
		return (int)at;
	r = bz_attrs_read((uint64_t)at, scratch, &a);
	bz_munmap((uint64_t)at, len);
	if (!r && (a.dev != share->dev || a.ino != share->ino))
		r = -EINVAL;
	return r;
}

static int look_at_file(struct bz_share *share, uint32_t flags)
{
	struct statfs fs;
	struct stat st;
	int is_hugetlb, r;

	r = (int)bz_sys(SYS_fstat, share->fd, (long)&st, 0, 0, 0, 0);
	if (!r)
		r = (int)bz_sys(SYS_fstatfs, share->fd, (long)&fs, 0, 0, 0, 0);
	if (r)
		return r;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	/* whoever cannot be punched may not even be mapped once more */
	r = look_at_seals(share->fd);
	if (!r)
		r = is_mapped_there(share);
	if (r)
		return r;
	share->dev = st.st_dev;
	share->ino = st.st_ino;
	if ((uint64_t)st.st_size <= share->offset)
		return -ENODATA;
	is_hugetlb = fs.f_type == HUGETLBFS_MAGIC;
	share->disk = !is_hugetlb && fs.f_type != TMPFS_MAGIC;
	if (share->disk)
		return flags & BEZ_SHARED_FENCED ? -EOPNOTSUPP : 0;
	return flags ? look_for_holes(share) : -EINVAL;
}

static int fence(struct bz_mm *mm, struct bz_share *share)
{
	uint64_t all = UINT64_MAX, was = 0;
	long r;

	/* a handler on top of us might need what we have locked */
	bz_sigmask(SIG_BLOCK, &all, &was);
	r = bz_fence_raise(mm, share);
	bz_sigmask(SIG_SETMASK, &was, NULL);
	share->owner = atomic_load(&mm->fence_first);
	/* the kernel says EINVAL of what can have no fence */
	if (r == -EINVAL || r == -ENOSYS)
		return -EOPNOTSUPP;
	/* tmpfs has told its holes */
	if (r || (share->fd >= 0 && share->memory.shift == bz_core.page_shift))
		return (int)r;
	/* nobody to be asked for holes, but now they can be run into */
	r = bz_madvise(share->start, share->end - share->start,
		       MADV_POPULATE_READ);
	if (r != -EFAULT)
		return 0;
	bz_fence_lower(mm, share);
	return -ENODATA;
}

static int fill_in(struct bz_mm *mm, struct bz_share *share,
		   const struct bez_shared *said)
{
	int r;

	if (said->fd >= 0) {
		long how = bz_sys(SYS_fcntl, said->fd, F_GETFL, 0, 0, 0, 0);

		if (how < 0 || (how & O_ACCMODE) == O_RDONLY || (how & O_PATH))
			return -EBADF;
		share->fd = open_again(said->fd);
		if (share->fd < 0)
			return share->fd;
	} else if (said->flags != BEZ_SHARED_EXCLUSIVE) {
		return -EBADF;
	}
	r = look_at_memory(share);
	if (!r && share->fd >= 0)
		r = look_at_file(share, said->flags);
	if (!r && !share->disk)
		r = fence(mm, share);
	return r;
}

int bz_share_open(struct bz_mm *mm, uint64_t start, uint64_t end,
		  const struct bez_shared *said, struct bz_share **ret_share)
{
	struct bz_share *share;
	int r;

	if (said->reserved || said->flags > BEZ_SHARED_FENCED)
		return -EINVAL;
	if (said->offset & (bz_core.page - 1) ||
	    said->offset > BZ_SHARE_SAID - (end - start))
		return -EINVAL;
	share = calloc(1, sizeof(*share));
	if (!share)
		return -ENOMEM;
	share->fd = -1;
	share->flags = (uint8_t)said->flags;
	share->offset = said->offset;
	share->start = start;
	share->end = end;
	r = fill_in(mm, share, said);
	if (!r) {
		*ret_share = share;
		return 0;
	}
	if (share->fd >= 0)
		bz_close(share->fd);
	free(share);
	return r;
}

void bz_share_close(struct bz_mm *mm, struct bz_share *share)
{
	struct bz_file_id id;

	if (!share)
		return;
	if (!share->disk)
		bz_fence_lower(mm, share);
	if (share->fd >= 0 && !bz_file_id(share->fd, &id) &&
	    id.dev == share->dev && id.ino == share->ino)
		bz_close(share->fd);
	free(share);
}

int bz_share_overlaps(uint64_t start, uint64_t end)
{
	const struct bz_share *share;

	for (share = listed; share; share = share->next)
		if (start < share->end && share->start < end)
			return 1;
	return 0;
}

void bz_share_list(struct bz_share *share)
{
	if (!share)
		return;
	share->next = listed;
	listed = share;
}

void bz_share_unlist(struct bz_share *share)
{
	struct bz_share **at = &listed;

	while (*at && *at != share)
		at = &(*at)->next;
	if (*at)
		*at = share->next;
}

/*
 * A lock belongs to the open file, which parent and child share until the child
 * has opened its own. One that cannot has no file any more, and is refused.
 */
static void own_file(struct bz_share *share)
{
	struct bz_file_id id;
	int fd;

	/* the number may be another file's now */
	if (share->fd < 0 || bz_file_id(share->fd, &id) ||
	    id.dev != share->dev || id.ino != share->ino)
		return;
	fd = open_again(share->fd);
	if (fd >= 0 && bz_sys(SYS_dup3, fd, share->fd, O_CLOEXEC, 0, 0, 0) >= 0) {
		bz_close(fd);
		return;
	}
	if (fd >= 0)
		bz_close(fd);
	/* with it, a lock of our parent's would live on when he is dead */
	bz_close(share->fd);
	share->ino = 0;			/* no file is this one */
}

/* Is anything mapped there? */
static int is_free(uint64_t start, uint64_t len)
{
	long at = bz_mmap(start, len, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				  MAP_FIXED_NOREPLACE, -1);

	if (at > 0 || at < -4095)
		bz_munmap((uint64_t)at, len);
	return at == (long)start;
}

/*
 * No access to @pages of @width from @start on, without what is not there
 * (MADV_DONTFORK): mprotect(2) goes no further than to a gap, so then each half
 * is done by itself.
 */
static void close_all(uint64_t start, uint64_t pages, uint64_t width)
{
	uint64_t len = pages * width, half = pages / 2 * width;

	if (!bz_sys(SYS_mprotect, (long)start, (long)len, PROT_NONE, 0, 0, 0) ||
	    is_free(start, len))
		return;
	if (half) {
		close_all(start, pages / 2, width);
		close_all(start + half, pages - pages / 2, width);
		return;
	}
	/* nothing else is left to hand out no wrong byte */
	bz_sys(SYS_kill, bz_sys0(SYS_getpid), SIGKILL, 0, 0, 0, 0);
}

void bz_share_forked(struct bz_mm *mm)
{
	uint32_t shift;
	struct bz_share *share;

	bz_fence_close_inherited();
	for (share = listed; share; share = share->next) {
		own_file(share);
		if (share->disk)
			continue;
		/* Without a fence nobody here may read what may be no data. What
		 * the child did not inherit is not there. */
		shift = share->memory.shift;
		if (bz_fence_raise(mm, share))
			close_all(share->start,
				  (share->end - share->start) >> shift,
				  (uint64_t)1 << shift);
		share->owner = atomic_load(&mm->fence_first);
	}
}

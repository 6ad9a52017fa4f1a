/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "lost.h"

#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/core.h"
#include "live.h"
#include "replace_see.h"
#include "sys/sys.h"

struct lost *lost;
void (*lost_before)(long nr, const long arg[6]);

static struct bz_file_id file;
static size_t width;
static uint64_t base;

/* The first bad byte of [@offset, @offset + @len) of the file, or its end. */
static uint64_t first_bad(uint64_t offset, uint64_t len)
{
	uint64_t step = atomic_load(&lost->whole) ? width : live_page();
	uint64_t end = offset + len, at = offset & -step, i;

	for (; at < end; at += step)
		for (i = at; i < at + step; i += live_page())
			if (i / live_page() < LOST_PAGES &&
			    atomic_load(&lost->bad[i / live_page()]))
				return at > offset ? at : offset;
	return end;
}

static int is_file(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_dev == file.dev && st.st_ino == file.ino;
}

static long kernel(long nr, const long arg[6])
{
	int saved = errno;
	long r = syscall(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);

	if (r == -1)
		r = -errno;
	errno = saved;
	return r;
}

/* Where the library has mapped a part of it once more. */
static _Atomic uint64_t aside_at, aside_len, aside_offset;

static long map(const long arg[6])
{
	long r = kernel(SYS_mmap, arg);

	if (r > 0 && (arg[3] & MAP_SHARED) && is_file((int)arg[4])) {
		atomic_store(&aside_len, 0);
		atomic_store(&aside_at, (uint64_t)r);
		atomic_store(&aside_offset, (uint64_t)arg[5]);
		atomic_store(&aside_len, (uint64_t)arg[1]);
	}
	return r;
}

static long populate(const long arg[6])
{
	uint64_t at = (uint64_t)arg[0] - base, len = (uint64_t)arg[1];
	uint64_t aside = (uint64_t)arg[0] - atomic_load(&aside_at);

	if (base && (uint64_t)arg[0] >= base && at < LOST_PAGES * live_page() &&
	    first_bad(at, len) < at + len)
		return lost->unseen ? -EFAULT : -EHWPOISON;
	if (base && aside < atomic_load(&aside_len) &&
	    first_bad(atomic_load(&aside_offset) + aside, len) <
		    atomic_load(&aside_offset) + aside + len)
		return -EHWPOISON;
	return kernel(SYS_madvise, arg);
}

static long read_file(long arg[6])
{
	uint64_t offset = (uint64_t)arg[3], bad;

	if (is_file((int)arg[0])) {
		bad = first_bad(offset, (uint64_t)arg[2]);
		if (lost->forgets && bad < offset + (uint64_t)arg[2]) {
			memset((void *)arg[1], 0, (size_t)arg[2]);
			return arg[2];
		}
		if (bad == offset)
			return -EIO;
		if (bad < offset + (uint64_t)arg[2])
			arg[2] = (long)(bad - offset + lost->torn);
		if (lost->chunk && arg[2] > (long)lost->chunk)
			arg[2] = (long)lost->chunk;
	}
	return kernel(SYS_pread64, arg);
}

static long punch(const long arg[6])
{
	uint64_t at, end, page = live_page();
	long r = kernel(SYS_fallocate, arg);

	if (r || !(arg[1] & FALLOC_FL_PUNCH_HOLE) || !is_file((int)arg[0]))
		return r;
	atomic_fetch_add(&lost->punches, 1);
	at = (uint64_t)arg[2] / page;
	end = at + (uint64_t)arg[3] / page;
	for (; at < end && at < LOST_PAGES; at++)
		atomic_store(&lost->bad[at], 0);
	return r;
}

static long fill(const long arg[6])
{
	long r;

	if (lost->no_huge && ((struct uffdio_copy *)arg[2])->len > live_page())
		return -ENOMEM;
	if (atomic_exchange(&lost->dies_before, 0))
		kill(getpid(), SIGKILL);
	r = kernel(SYS_ioctl, arg);
	if (!r)
		atomic_fetch_add(&lost->fills, 1);
	return r;
}

long bz_sys(long nr, long a, long b, long c, long d, long e, long f)
{
	long arg[6] = { a, b, c, d, e, f };

	if (!lost)
		return kernel(nr, arg);
	if (lost_before)
		lost_before(nr, arg);
	if (nr == SYS_madvise && c == MADV_POPULATE_READ)
		return populate(arg);
	if (nr == SYS_madvise && lost->forgets &&
	    (c == MADV_DONTNEED || c == MADV_DONTNEED_LOCKED))
		return -EINVAL;
	if (nr == SYS_madvise && c == MADV_REMOVE) {
		long r = kernel(nr, arg);

		atomic_fetch_add(&lost->punches, 1);
		memset((void *)lost->bad, 0, sizeof(lost->bad));
		return r;
	}
	if (nr == SYS_pread64)
		return read_file(arg);
	if (nr == SYS_fallocate)
		return punch(arg);
	if (nr == SYS_mmap && lost->no_huge && (d & MAP_HUGETLB))
		return -ENOMEM;
	if (nr == SYS_uname && lost->no_name)
		return -ENOSYS;
	if (nr == SYS_mmap)
		return map(arg);
	if (nr == SYS_ioctl && (unsigned long)b == UFFDIO_COPY)
		return fill(arg);
	return kernel(nr, arg);
}

uint64_t bz_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void lost_is_at(void *at)
{
	base = (uint64_t)at;
}

void lost_begin(int fd, void *at, size_t page_width)
{
	struct stat st;

	if (fd >= 0) {
		CHECK_EQ(fstat(fd, &st), 0);
		file = (struct bz_file_id){ st.st_dev, st.st_ino };
	}
	width = page_width;
	base = (uint64_t)at;
	lost = mmap(NULL, sizeof(*lost), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(lost != MAP_FAILED);
}

/* Whether it is lost is what the tests are about. */
void lose_at(size_t offset)
{
	if (live_is_real())
		live_poison_file((void *)(base + offset));
	else
		atomic_store(&lost->bad[offset / live_page()], 1);
}

/* A child has no fence: while others may be filling the page, this process loses
 * it, and takes the SIGBUS that comes at once. */
static void poison_here(size_t offset, uint32_t fills)
{
	while (atomic_load(&lost->fills) == fills)
		if (madvise((void *)(base + offset), live_page(),
			    MADV_HWPOISON))
			sched_yield();
}

void lost_notice(size_t offset)
{
	uint32_t fills = atomic_load(&lost->fills);

	if (live_is_real() && lost->hammered) {
		poison_here(offset, fills);
		return;
	}
	lose_at(offset);
	/* who touches it between two steps of this repairs the marker away */
	while (!live_is_real() && atomic_load(&lost->bad[offset / live_page()]) &&
	       atomic_load(&lost->fills) == fills) {
		lost_mark(offset);
		if (!lost->hammered)
			break;
		sched_yield();
	}
}

/* A userfaultfd that has the range for the moment. */
static int registered(uint64_t start)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_POISON };
	struct uffdio_register reg = {
		.range = { start, width },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	CHECK_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	return fd;
}

/* By the fence, which is the userfaultfd that the memory is registered with; or
 * where there is none, by another. */
void lost_mark(size_t offset)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	int fence = mm ? atomic_load(&mm->fence) - 1 : -1, other, r;
	struct uffdio_poison poison = {
		.range = { base + (offset & -width), width },
	};

	if (live_is_real())
		return;
	CHECK_EQ(madvise((void *)(uintptr_t)poison.range.start, width,
			 MADV_DONTNEED_LOCKED), 0);
	r = fence < 0 ? -1 : ioctl(fence, UFFDIO_POISON, &poison);
	if (fence < 0 || (r && errno == ENOENT)) {
		other = registered(poison.range.start);
		r = ioctl(other, UFFDIO_POISON, &poison);
		close(other);
	}
	/* whoever touched it in between may have repaired it */
	CHECKF(!r || errno == EEXIST, "UFFDIO_POISON: %s", strerror(errno));
}

void lost_refused(size_t offset, enum bez_outcome why)
{
	unsigned char byte;

	if (live_is_real()) {
		see_refused((void *)(base + offset), why);
		return;
	}
	/* the marker goes when it is looked whether the file is good again */
	CHECK_EQ(see_lost((void *)(base + offset), &byte), 1);
	CHECKF(see_event((void *)(base + offset)).why == why, "\"%s\"",
	       bez_outcome_name(see_event((void *)(base + offset)).why));
	lost_mark(offset);
}

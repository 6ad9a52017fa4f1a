/* SPDX-License-Identifier: MIT */
/*
 * A registration of shared memory that is refused: for each reason, and whichever
 * system call fails. Nothing has changed then: no descriptor, no fence, no
 * region, and the memory is as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../live/live.h"
#include "huge.h"
#include "region/region.h"
#include "unit.h"

#define PAGES	4
#define HUGE	((size_t)2 << 20)

static unsigned char *at, *copy;
static int file = -1;

static size_t length(void)
{
	return PAGES * unit_page();
}

static int memory_file(unsigned int flags)
{
	int fd = memfd_create("share", MFD_CLOEXEC | flags);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)length()), 0);
	return fd;
}

static unsigned char *map(int fd, off_t offset, int flags)
{
	unsigned char *p = mmap(NULL, length(), PROT_READ | PROT_WRITE,
				flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd,
				offset);

	CHECK(p != MAP_FAILED);
	return p;
}

static void begin(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	unit_need_poison();
	unit_page();
	options.flags = BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL;
	CHECK_EQ(bez_start(&options), 0);
	file = memory_file(MFD_ALLOW_SEALING);
	at = map(file, 0, MAP_SHARED);
	copy = map(-1, 0, MAP_PRIVATE);
	live_fill(at, length(), 0);
	live_fill(copy, length(), 0);
}

static int add_len(void *where, size_t len, int fd, uint32_t flags,
		   uint64_t offset)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from = bez_source_mirror(copy);
	bez_region_t region = 77;
	int r;

	shared.fd = fd;
	shared.flags = flags;
	shared.offset = offset;
	policy.shared = &shared;
	policy.source = len == length() ? &from : NULL;
	r = bez_region_add(where, len, &policy, &region);
	CHECK(r < 0 ? region == 77 : region != 77);
	if (!r)
		CHECK_EQ(bez_region_remove(region), 0);
	return r;
}

static int add(void *where, int fd, uint32_t flags)
{
	return add_len(where, length(), fd, flags, 0);
}

/* @r is what it must say, and no trace of it is left. */
#define REFUSED(error, ...)						\
	do {								\
		uint32_t fds_, maps_;					\
									\
		/* the first one opens the fence, which stays */	\
		CHECK_EQ(add(at, file, BEZ_SHARED_FENCED), 0);		\
		fds_ = unit_fds();					\
		maps_ = unit_maps();					\
		CHECK_EQ(__VA_ARGS__, error);				\
		CHECK_EQ(unit_fds(), fds_);				\
		CHECK_EQ(unit_maps(), maps_);				\
		CHECK_EQ(bz_region_total(), 0);				\
		CHECK_EQ(unit_flag(at, "um"), 0);			\
	} while (0)

static void arguments(void)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	char newer[sizeof(shared) + 8];

	begin();
	REFUSED(-EINVAL, add(at, file, 3));
	REFUSED(-EINVAL, add(at, file, 4));
	REFUSED(-EINVAL, add(at, file, ~0u));
	/* memory: somebody has to be there */
	REFUSED(-EINVAL, add(at, file, 0));
	REFUSED(-EBADF, add(at, -1, BEZ_SHARED_FENCED));
	REFUSED(-EBADF, add(at, -1, 0));
	REFUSED(-EBADF, add(at, 999, BEZ_SHARED_EXCLUSIVE));
	REFUSED(-EINVAL, add_len(at, length(), file, 1, 5));
	REFUSED(-EINVAL, add_len(at, length(), file, 1, unit_page()));
	REFUSED(-EINVAL, add_len(at, length(), file, 1, (uint64_t)1 << 62));
	REFUSED(-EINVAL, add_len(at, length(), file, 1, (uint64_t)-4096));
	policy.shared = &shared;
	shared.reserved = 1;
	shared.fd = file;
	shared.flags = BEZ_SHARED_FENCED;
	REFUSED(-EINVAL, bez_region_add(at, length(), &policy, &region));
	shared.reserved = 0;
	shared.size = 3;
	REFUSED(-EINVAL, bez_region_add(at, length(), &policy, &region));
	memset(newer, 0, sizeof(newer));
	shared.size = sizeof(newer);
	memcpy(newer, &shared, sizeof(shared));
	newer[sizeof(newer) - 1] = 1;
	policy.shared = (struct bez_shared *)newer;
	REFUSED(-E2BIG, bez_region_add(at, length(), &policy, &region));
}

static void descriptors(void)
{
	char path[64];
	int fd, pipes[2];

	begin();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_RDONLY);
	REFUSED(-EBADF, add(at, fd, BEZ_SHARED_FENCED));
	close(fd);
	fd = open(path, O_PATH);
	REFUSED(-EBADF, add(at, fd, BEZ_SHARED_FENCED));
	close(fd);
	/* open for writing alone: it has one of its own */
	fd = open(path, O_WRONLY);
	CHECK_EQ(add(at, fd, BEZ_SHARED_FENCED), 0);
	close(fd);
	CHECK_EQ(pipe(pipes), 0);
	REFUSED(-EINVAL, add(at, pipes[1], BEZ_SHARED_EXCLUSIVE));
	fd = open("/dev/null", O_RDWR);
	REFUSED(-EINVAL, add(at, fd, BEZ_SHARED_EXCLUSIVE));
	fd = memory_file(0);
	live_fill(map(fd, 0, MAP_SHARED), length(), 0);
	REFUSED(-EINVAL, add(at, fd, BEZ_SHARED_FENCED));
}

static void mappings(void)
{
	unsigned char *p;
	char path[64];
	int fd;

	begin();
	p = map(file, 0, MAP_PRIVATE);
	REFUSED(-EINVAL, add(p, file, BEZ_SHARED_FENCED));
	p = map(-1, 0, MAP_PRIVATE);
	REFUSED(-EINVAL, add(p, -1, BEZ_SHARED_EXCLUSIVE));
	/* the second half is another file's, or another part of this one */
	p = map(file, 0, MAP_SHARED);
	fd = memory_file(0);
	CHECK(mmap(p + 2 * unit_page(), 2 * unit_page(), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	live_fill(p, length(), 0);
	REFUSED(-EINVAL, add(p, file, BEZ_SHARED_FENCED));
	CHECK(mmap(p + 2 * unit_page(), 2 * unit_page(), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED);
	REFUSED(-EINVAL, add(p, file, BEZ_SHARED_FENCED));
	/* in pieces, but all of it */
	CHECK(mmap(p + 2 * unit_page(), 2 * unit_page(), PROT_READ,
		   MAP_SHARED | MAP_FIXED, file, (off_t)(2 * unit_page())) !=
	      MAP_FAILED);
	CHECK_EQ(add(p, file, BEZ_SHARED_FENCED), 0);
	REFUSED(-ENOMEM, (munmap(p + 2 * unit_page(), unit_page()),
			  add(p, file, BEZ_SHARED_FENCED)));
	/* mapped by way of a descriptor for reading: it cannot be filled */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_RDONLY);
	p = mmap(NULL, length(), PROT_READ, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	REFUSED(-EPERM, add(p, file, BEZ_SHARED_FENCED));
}

static void holes(void)
{
	unsigned char *p;
	int fd;

	begin();
	fd = memory_file(0);
	p = map(fd, 0, MAP_SHARED);
	REFUSED(-ENODATA, add(p, fd, BEZ_SHARED_FENCED));
	live_fill(p, length() - unit_page(), 0);
	REFUSED(-ENODATA, add(p, fd, BEZ_SHARED_EXCLUSIVE));
	/* what was only set aside reads as zeros, too */
	CHECK_EQ(fallocate(fd, 0, 0, (off_t)length()), 0);
	REFUSED(-ENODATA, add(p, fd, BEZ_SHARED_EXCLUSIVE));
	live_fill(p, length(), 0);
	CHECK_EQ(add(p, fd, BEZ_SHARED_EXCLUSIVE), 0);
	/* a file that ends before the region does, or before it begins */
	CHECK_EQ(ftruncate(fd, (off_t)(length() - unit_page())), 0);
	REFUSED(-ENODATA, add(p, fd, BEZ_SHARED_EXCLUSIVE));
	CHECK_EQ(ftruncate(fd, 0), 0);
	REFUSED(-ENODATA, add(p, fd, BEZ_SHARED_EXCLUSIVE));
	/* nobody has touched it */
	p = map(-1, 0, MAP_SHARED);
	REFUSED(-ENODATA, add(p, -1, BEZ_SHARED_EXCLUSIVE));
	CHECK_EQ(unit_flag(p, "um"), 0);
	live_fill(p, length(), 0);
	CHECK_EQ(add(p, -1, BEZ_SHARED_EXCLUSIVE), 0);
	CHECK_EQ(unit_flag(p, "um"), 0);
}

static void seals(void)
{
	begin();
	CHECK_EQ(fcntl(file, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
	CHECK_EQ(add(at, file, BEZ_SHARED_FENCED), 0);
	CHECK_EQ(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	CHECK_EQ(add(at, file, BEZ_SHARED_FENCED), -EPERM);
	CHECK_EQ(add(at, file, BEZ_SHARED_EXCLUSIVE), -EPERM);
	CHECK_EQ(bz_region_total(), 0);
	CHECK_EQ(unit_flag(at, "um"), 0);
}

/* On a file system that is no memory. */
static void on_disk(void)
{
	char name[] = "/var/tmp/bezoar-share-XXXXXX";
	struct statfs fs;
	unsigned char *p;
	int fd;

	begin();
	fd = mkstemp(name);
	if (fd < 0 || fstatfs(fd, &fs) || fs.f_type == TMPFS_MAGIC)
		tap_skip("/var/tmp is on no disk here");
	unlink(name);
	CHECK_EQ(ftruncate(fd, (off_t)length()), 0);
	p = map(fd, 0, MAP_SHARED);
	REFUSED(-EOPNOTSUPP, add(p, fd, BEZ_SHARED_FENCED));
	CHECK_EQ(add(p, fd, 0), 0);
	CHECK_EQ(add(p, fd, BEZ_SHARED_EXCLUSIVE), 0);
	CHECK_EQ(unit_flag(p, "um"), 0);
}

static void huge_pages(void)
{
	unsigned char *p;
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);

	begin();
	huge_need(1);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)HUGE));
	p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	REFUSED(-EINVAL, add(p, fd, BEZ_SHARED_FENCED));
	REFUSED(-EINVAL, add_len(p + unit_page(), HUGE - unit_page(), fd,
				 BEZ_SHARED_FENCED, unit_page()));
	/* a hole may be what somebody has left who died */
	REFUSED(-ENODATA, add_len(p, HUGE, fd, BEZ_SHARED_FENCED, 0));
	memset(p, 1, HUGE);
	CHECK_EQ(add_len(p, HUGE, fd, BEZ_SHARED_FENCED, 0), 0);
}

static void own_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	unsigned char *p;
	int fd;

	begin();
	p = map(file, 0, MAP_SHARED);
	live_read(p);
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		tap_skip("no userfaultfd here: %s", strerror(errno));
	CHECK_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	reg.range.start = (uint64_t)p;
	reg.range.len = unit_page();
	CHECK_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	double_reset();
	REFUSED(-EBUSY, add(p, file, BEZ_SHARED_FENCED));
	CHECK_EQ(unit_flag(p, "um"), 1);
	CHECK_EQ(unit_flag(p + unit_page(), "um"), 0);
	close(fd);
	CHECK_EQ(add(p, file, BEZ_SHARED_FENCED), 0);
}

/* No userfaultfd at all, or none that can be had. */
static void no_userfaultfd(void)
{
	uint32_t fds;

	begin();
	fds = unit_fds();
	double_kernel(DOUBLE_NO_UFFD);
	double_watch();
	CHECK_EQ(add(at, file, BEZ_SHARED_FENCED), -EOPNOTSUPP);
	double_reset();
	CHECK_EQ(unit_fds(), fds);
	CHECK_EQ(bz_region_total(), 0);
}

static void no_proc(void)
{
	char folder[] = "/tmp/bezoar-root-XXXXXX";

	begin();
	if (geteuid())
		tap_skip("chroot(2) is for root");
	CHECK(mkdtemp(folder));
	CHECK_EQ(chroot(folder), 0);
	CHECK_EQ(add(at, file, BEZ_SHARED_FENCED), -ENOSYS);
	CHECK_EQ(bez_shared_open(file), -ENOSYS);
	CHECK_EQ(bez_shared_open(999), -EBADF);
	CHECK_EQ(bz_region_total(), 0);
	CHECK_EQ(chroot("."), 0);
}

/* ------------------------------------------------- each system call in turn */

/* The call that failed. */
static long liar(void)
{
	uint32_t i;

	for (i = 0; i < double_traced(); i++)
		if (double_trace(i)->lied)
			return double_trace(i)->nr;
	return -1;
}

static uint32_t mappings_of_file(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	uint32_t n = 0;
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:share") != NULL;
	fclose(f);
	return n;
}

static void adding_fails(void)
{
	static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EIO, EMFILE,
				      ENOENT };
	uint32_t n, refused = 0, did_without = 0, fds, maps;
	size_t e;
	int r;

	begin();
	/* EBUSY of a range is waited for, so long as the clock goes on */
	CHECK_EQ(add(at, file, BEZ_SHARED_FENCED), 0);
	fds = unit_fds();
	maps = mappings_of_file();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1;; n++) {
			double_reset();
			double_fail(n, errors[e]);
			double_watch();
			r = add(at, file, BEZ_SHARED_FENCED);
			double_rest();
			if (!double_lies())
				break;
			refused += r != 0;
			did_without += !r;
			/* and a number that cannot be told apart is not closed */
			fds += liar() == SYS_fstat && !r;
			CHECKF(unit_fds() == fds, "call %u (%s) says %s: %d", n,
			       double_name(liar()), strerror(errors[e]), r);
			/* one that cannot be taken away stays */
			maps += liar() == SYS_munmap;
			CHECKF(mappings_of_file() == maps, "call %u (%s) says %s: %d",
			       n, double_name(liar()), strerror(errors[e]), r);
			CHECK_EQ(bz_region_total(), 0);
			CHECKF(!unit_flag(at, "um"), "call %u (%s) says %s: %d",
			       n, double_name(liar()), strerror(errors[e]), r);
			CHECK_EQ(live_wrong(at, length(), 0), 0);
		}
	double_reset();
	tap_diag("refused %u times, did without %u times", refused,
		 did_without);
	CHECK(refused > COUNT_OF(errors) && did_without);
	/* a lowered fence leaves a hole a hole */
	CHECK_EQ(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			   (off_t)unit_page()), 0);
	CHECK_EQ(live_read(at), 0);
}

static const struct tap_case cases[] = {
	{ .name = "arguments", .run = arguments },
	{ .name = "descriptors", .run = descriptors },
	{ .name = "mappings", .run = mappings },
	{ .name = "holes", .run = holes },
	{ .name = "seals", .run = seals },
	{ .name = "on a disk", .run = on_disk },
	{ .name = "huge pages", .run = huge_pages },
	{ .name = "a userfaultfd of the program's", .run = own_userfaultfd },
	{ .name = "no userfaultfd", .run = no_userfaultfd },
	{ .name = "no /proc", .run = no_proc },
	{ .name = "each call of a registration fails", .run = adding_fails },
};
TAP_MAIN(cases)

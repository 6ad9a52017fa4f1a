/* SPDX-License-Identifier: MIT */
/* BEZ_INJECT_TRUNCATE: files on disk, memfds, private mappings. */
#define _GNU_SOURCE
#include "inject_util.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED	31
#define OTHER	32
#define TAIL	100	/* bytes in the file's last, short page */

struct file {
	int fd;
	unsigned char *p;
	size_t page, size;
};

/* Five pages and a bit, mapped @flags; without a name unless @name. */
static struct file make(const char *name, int flags)
{
	struct file f = { .page = iu_page() };
	unsigned char *bytes = iu_pages(6, SEED);

	f.size = 5 * f.page + TAIL;
	f.fd = name ? open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) :
		      memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(f.fd >= 0);
	CHECK_EQ(write(f.fd, bytes, f.size), f.size);
	f.p = mmap(NULL, 6 * f.page, PROT_READ | PROT_WRITE, flags, f.fd, 0);
	CHECK(f.p != MAP_FAILED);
	munmap(bytes, 6 * f.page);
	return f;
}

static off_t size_of(int fd)
{
	struct stat st;

	CHECK(!fstat(fd, &st));
	return st.st_size;
}

static void cut_and_grown(struct file *f)
{
	size_t page = f->page;
	struct bez_inject_info info;
	bez_inject_t token;
	struct hit hit;

	iu_catch();
	CHECK_EQ(bez_inject(f->p + 2 * page, 2 * page, BEZ_INJECT_TRUNCATE, 0,
			    &token), 0);
	CHECK_EQ(size_of(f->fd), 2 * page);
	info = iu_state(token);
	CHECK_EQ(info.pages, 2);
	CHECK_EQ(info.poisoned, 2);
	CHECK_EQ(info.si_code, BUS_ADRERR);
	CHECK_EQ(info.undo, BEZ_INJECT_UNDO_FULL);
	CHECK_EQ(info.fidelity, BEZ_INJECT_FIDELITY_KERNEL);
	CHECK(iu_touch(f->p + 2 * page - 1, NULL, NULL));
	CHECK(!iu_touch(f->p + 2 * page + 7, NULL, &hit));
	CHECK_EQ(hit.code, BUS_ADRERR);
	CHECK_EQ((uintptr_t)hit.addr, (uintptr_t)(f->p + 2 * page + 7));
	CHECK(!iu_touch(f->p + 5 * page, NULL, NULL));
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(size_of(f->fd), f->size);
	CHECK_EQ(iu_differs(f->p, f->size, SEED), f->size);
}

static void on_memfd(void)
{
	struct file f = make(NULL, MAP_SHARED);

	cut_and_grown(&f);
}

static void on_disk(void)
{
	struct file f = make("inject-file.tmp", MAP_SHARED);

	cut_and_grown(&f);
	CHECK(!unlink("inject-file.tmp"));
}

/* Found by its name alone: no descriptor, and map_files is for root. */
static void by_name(void)
{
	struct file f = make("inject-file.tmp", MAP_SHARED);
	bez_inject_t token;

	close(f.fd);
	CHECK_EQ(bez_inject(f.p, f.page, BEZ_INJECT_TRUNCATE, 0, &token), 0);
	CHECK_EQ(iu_state(token).poisoned, 1);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(iu_differs(f.p, f.size, SEED), f.size);
	CHECK(!unlink("inject-file.tmp"));
}

static void unprivileged(void)
{
	struct file f = make(NULL, MAP_SHARED);

	if (getuid())
		tap_skip("not root, so this is what all other cases show");
	CHECK(!fchown(f.fd, 65534, 65534));
	CHECK(!setresgid(65534, 65534, 65534));
	CHECK(!setresuid(65534, 65534, 65534));
	/* a process that changed its user may not open its own /proc files */
	CHECK(!prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	cut_and_grown(&f);
}

static void private_mapping(void)
{
	struct file f = make(NULL, MAP_PRIVATE);
	bez_inject_t token = 8;

	cut_and_grown(&f);
	/* a page written here is in no file */
	f.p[4 * f.page] ^= 1;
	CHECK_EQ(bez_inject(f.p + f.page, f.page, BEZ_INJECT_TRUNCATE, 0,
			    &token), -EOPNOTSUPP);
	CHECK_EQ(token, 8);
	CHECK_EQ(size_of(f.fd), f.size);
	f.p[4 * f.page] ^= 1;
	CHECK_EQ(iu_differs(f.p, f.size, SEED), f.size);
}

static void refused(void)
{
	struct file f = make(NULL, MAP_SHARED);
	bez_inject_t token = 8;

	/* past the end, and sealed */
	CHECK(!ftruncate(f.fd, (off_t)f.page));
	CHECK_EQ(bez_inject(f.p + f.page, f.page, BEZ_INJECT_TRUNCATE, 0,
			    &token), -EALREADY);
	CHECK(!fcntl(f.fd, F_ADD_SEALS, F_SEAL_SHRINK));
	CHECK_EQ(bez_inject(f.p, f.page, BEZ_INJECT_TRUNCATE, 0, &token),
		 -EPERM);
	CHECK_EQ(token, 8);
	CHECK_EQ(iu_differs(f.p, f.page, SEED), f.page);
}

static void no_undo(void)
{
	struct file f = make(NULL, MAP_SHARED);
	bez_inject_t token;

	CHECK_EQ(bez_inject(f.p, f.page, BEZ_INJECT_TRUNCATE,
			    BEZ_INJECT_NO_UNDO, &token), 0);
	CHECK_EQ(bez_inject_undo(token), -EOPNOTSUPP);
	CHECK_EQ(bez_inject_forget(token), 0);
	CHECK_EQ(size_of(f.fd), 0);
}

/* What was written to the file since is not overwritten. */
static void grown_meanwhile(void)
{
	struct file f = make(NULL, MAP_SHARED);
	unsigned char *repaired = iu_pages(1, OTHER);
	bez_inject_t token;

	CHECK_EQ(bez_inject(f.p + f.page, f.page, BEZ_INJECT_TRUNCATE, 0,
			    &token), 0);
	CHECK_EQ(pwrite(f.fd, repaired, f.page, (off_t)f.page), f.page);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(size_of(f.fd), f.size);
	CHECK_EQ(iu_differs(f.p + f.page, f.page, OTHER), f.page);
	memcpy(repaired, f.p + 2 * f.page, f.page);
	CHECK_EQ(repaired[5], iu_byte(2 * f.page + 5, SEED));
	CHECK_EQ(f.p[f.size - 1], iu_byte(f.size - 1, SEED));

	CHECK_EQ(bez_inject(f.p + 2 * f.page, f.page, BEZ_INJECT_TRUNCATE, 0,
			    &token), 0);
	CHECK(!ftruncate(f.fd, (off_t)f.page));
	CHECK_EQ(bez_inject_undo(token), -ESTALE);
	CHECK_EQ(size_of(f.fd), f.page);
	CHECK_EQ(bez_inject_forget(token), 0);
}

static _Atomic int stop;
static _Atomic unsigned long zeros, looks;

/* A reader never sees the zeros of a file that has grown and is not filled. */
static void *look(void *arg)
{
	const struct file *f = arg;

	while (!atomic_load(&stop)) {
		size_t at = (size_t)(looks++ * 97 % f->size);
		unsigned char c;

		if (iu_touch(f->p + at, &c, NULL) && c != iu_byte(at, SEED))
			atomic_fetch_add(&zeros, 1);
	}
	return NULL;
}

static void readers_meanwhile(void)
{
	struct file f = make("inject-file.tmp", MAP_SHARED);
	pthread_t thread;
	bez_inject_t token;
	int n;

	CHECK(!unlink("inject-file.tmp"));
	iu_catch();
	CHECK(!pthread_create(&thread, NULL, look, &f));
	for (n = 0; n < 500; n++) {
		CHECK_EQ(bez_inject(f.p, f.page, BEZ_INJECT_TRUNCATE, 0,
				    &token), 0);
		CHECK_EQ(bez_inject_undo(token), 0);
	}
	atomic_store(&stop, 1);
	pthread_join(thread, NULL);
	tap_diag("%lu looks", looks);
	CHECK_EQ(zeros, 0);
	CHECK(looks > 0);
}

static const struct tap_case cases[] = {
	{ .name = "memfd", .run = on_memfd },
	{ .name = "file", .run = on_disk },
	{ .name = "file by its name", .run = by_name },
	{ .name = "unprivileged", .run = unprivileged },
	{ .name = "private mapping", .run = private_mapping },
	{ .name = "refused", .run = refused },
	{ .name = "no undo", .run = no_undo },
	{ .name = "grown or cut meanwhile", .run = grown_meanwhile },
	{ .name = "readers meanwhile", .run = readers_meanwhile },
};

TAP_MAIN(cases)

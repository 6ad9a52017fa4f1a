/* SPDX-License-Identifier: MIT */
/* What concerns the process: who may, children, descriptors, leaks. */
#define _GNU_SOURCE
#include "inject_util.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED	3
#define NOBODY	65534

static void round_trip(uint32_t backend)
{
	size_t page = iu_page();
	unsigned char *p = iu_pages(3, SEED);
	bez_inject_t token;
	struct hit hit;

	CHECK_EQ(bez_inject(p + page, page, backend, 0, &token), 0);
	CHECK(!iu_touch(p + page + 9, NULL, &hit));
	CHECK_EQ((uintptr_t)hit.addr, (uintptr_t)(p + page + 9));
	CHECK_EQ(hit.code, iu_state(token).si_code);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(iu_differs(p, 3 * page, SEED), 3 * page);
	munmap(p, 3 * page);
}

static void unprivileged(void)
{
	int r;

	iu_need(BEZ_INJECT_UFFD);
	if (getuid())
		tap_skip("not root, so this is what all other cases show");
	CHECK(!setresgid(NOBODY, NOBODY, NOBODY));
	CHECK(!setresuid(NOBODY, NOBODY, NOBODY));
	iu_catch();
	CHECK_EQ(bez_inject_available(BEZ_INJECT_UFFD), 0);
	round_trip(BEZ_INJECT_UFFD);
	round_trip(BEZ_INJECT_AUTO);
	r = bez_inject_available(BEZ_INJECT_MADV);
	CHECK(r == -EPERM || r == -EOPNOTSUPP);
	r = bez_inject_available(BEZ_INJECT_HWPOISON_INJECT);
	CHECK(r == -EACCES || r == -EPERM || r == -EOPNOTSUPP);
	CHECK(strcmp(bez_inject_why(BEZ_INJECT_MADV), "usable") != 0);
}

/* The child has the poison and not the token, and hurts nobody. */
static int in_child(unsigned char *p, bez_inject_t token)
{
	size_t page = iu_page();
	struct bez_inject_info info = { .size = sizeof(info) };
	bez_inject_t own;

	CHECK(!iu_touch(p, NULL, NULL));
	CHECK_EQ(bez_inject_undo(token), -ENOENT);
	CHECK_EQ(bez_inject_forget(token), -ENOENT);
	CHECK_EQ(bez_inject_state(token, &info), -ENOENT);
	CHECK_EQ(bez_inject(p + page, page, BEZ_INJECT_UFFD, 0, &own), 0);
	CHECK(own != token);
	CHECK(!iu_touch(p + page, NULL, NULL));
	/* and one that stays when the child is gone */
	CHECK_EQ(bez_inject(p + 2 * page, page, BEZ_INJECT_UFFD, 0, &token), 0);
	CHECK_EQ(bez_inject_undo(own), 0);
	CHECK_EQ(iu_touch(p + page, NULL, NULL), 1);
	return 0;
}

static void child_is_apart(void)
{
	size_t page = iu_page();
	unsigned char *p;
	bez_inject_t token;
	int status;
	pid_t pid;

	iu_need(BEZ_INJECT_UFFD);
	p = iu_pages(3, SEED);
	iu_catch();
	CHECK_EQ(bez_inject(p, page, BEZ_INJECT_UFFD, 0, &token), 0);
	pid = fork();
	if (!pid)
		_exit(in_child(p, token));
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(iu_state(token).poisoned, 1);
	CHECK_EQ(iu_touch(p + page, NULL, NULL), 1);
	CHECK_EQ(iu_touch(p + 2 * page, NULL, NULL), 1);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(iu_differs(p, 3 * page, SEED), 3 * page);
}

static const uint32_t with_undo[] = { BEZ_INJECT_UFFD, BEZ_INJECT_MADV };

/* The undo copy is out of the reach of children, and there is none at all
 * without undo. Locked memory is copied, other memory moved. */
static void copy_is_hidden(void)
{
	size_t page = iu_page();
	bez_inject_t token;
	size_t i, lock;

	iu_need(BEZ_INJECT_UFFD);
	iu_catch();
	for (i = 0; i < 4; i++) {
		uint32_t backend = with_undo[i / 2];
		unsigned char *p;
		uint64_t frame;
		int status;
		pid_t pid;

		if (bez_inject_available(backend))
			continue;
		lock = i % 2;
		p = iu_pages(1, 77);
		CHECK(!lock || !mlock(p, page));
		CHECK_EQ(iu_find(page, 77), 1);
		CHECK_EQ(bez_inject(p, page, backend, 0, &token), 0);
		CHECK_EQ(iu_find(page, 77), 1);
		pid = fork();
		if (!pid)
			_exit((int)iu_find(page, 77));
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK_EQ(status, 0);
		CHECK_EQ(bez_inject_undo(token), 0);
		iu_frames(p, 1, page, &frame);
		CHECK_EQ(bez_inject(p, page, backend, BEZ_INJECT_NO_UNDO,
				    &token), 0);
		CHECK_EQ(iu_find(page, 77), 0);
		CHECK_EQ(bez_inject_forget(token), 0);
		CHECK(!munmap(p, page));
		if (backend == BEZ_INJECT_MADV)
			iu_give_back(&frame, 1);
	}
}

static void nothing_leaks(void)
{
	static const uint32_t flags[] = { 0, BEZ_INJECT_NO_UNDO };
	size_t page = iu_page();
	unsigned int fds = 0, maps = 0;
	unsigned char *p;
	int n;

	iu_need(BEZ_INJECT_UFFD);
	p = iu_pages(16, SEED);
	iu_catch();
	for (n = -20; n < 1000; n++) {
		uint32_t f = flags[n % 5 == 4];
		bez_inject_t token;
		size_t at = page * (size_t)((n + 20) * 7 % 14);

		if (!n) {
			fds = iu_count_fds();
			maps = iu_count_maps();
		}
		CHECK_EQ(bez_inject(p + at, 2 * page, BEZ_INJECT_UFFD, f,
				    &token), 0);
		if (f) {
			CHECK_EQ(bez_inject_forget(token), 0);
			CHECK(!madvise(p + at, 2 * page, MADV_DONTNEED));
		} else {
			CHECK_EQ(bez_inject_undo(token), 0);
		}
	}
	CHECK_EQ(iu_count_fds(), fds);
	CHECK_EQ(iu_count_maps(), maps);
}

/* A userfaultfd of the program's own that holds the page. */
static int hold(void *p, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)p, .len = len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | UFFD_USER_MODE_ONLY);

	CHECK(fd >= 0);
	CHECK(!ioctl(fd, UFFDIO_API, &api));
	CHECK(!ioctl(fd, UFFDIO_REGISTER, &reg));
	return fd;
}

static void held_by_another(void)
{
	size_t page = iu_page();
	bez_inject_t token = 5;
	unsigned char *p;
	int fd;

	iu_need(BEZ_INJECT_UFFD);
	p = iu_pages(4, SEED);
	iu_catch();
	fd = hold(p + page, page);
	CHECK_EQ(bez_inject(p, 4 * page, BEZ_INJECT_UFFD, 0, &token), -EBUSY);
	CHECK_EQ(token, 5);
	CHECK_EQ(iu_differs(p, 4 * page, SEED), 4 * page);
	close(fd);
	CHECK_EQ(bez_inject(p, 4 * page, BEZ_INJECT_UFFD, 0, &token), 0);
	fd = hold(p + page, page);
	CHECK_EQ(bez_inject_undo(token), -EBUSY);
	/* page 0 was done; the token is good for the rest */
	CHECK_EQ(iu_state(token).poisoned, 3);
	close(fd);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(iu_differs(p, 4 * page, SEED), 4 * page);
}

/* From now on ioctl(@request) fails with ENOMEM in this process. */
static void fail_ioctl(uint32_t request)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

/* 0xc020aa08 is UFFDIO_POISON, which Debian 12's headers do not know. */
#define POISON_REQUEST	0xc020aa08u

static void all_or_nothing(void)
{
	size_t page = iu_page();
	bez_inject_t token = 5;
	unsigned int fds, maps;
	unsigned char *p[3];
	int i;

	iu_need(BEZ_INJECT_UFFD);
	iu_catch();
	round_trip(BEZ_INJECT_UFFD);
	for (i = 0; i < 3; i++)
		p[i] = iu_pages(6, SEED);
	CHECK(!mlock(p[1], 6 * page));
	CHECK(!mprotect(p[2] + 2 * page, page, PROT_READ));
	fds = iu_count_fds();
	maps = iu_count_maps();
	fail_ioctl(POISON_REQUEST);
	for (i = 0; i < 6; i++) {
		uint32_t flags = i % 2 ? BEZ_INJECT_NO_UNDO : 0;

		CHECK_EQ(bez_inject(p[i / 2] + page, 4 * page, BEZ_INJECT_UFFD,
				    flags, &token), -ENOMEM);
		CHECK_EQ(token, 5);
		CHECK_EQ(iu_differs(p[i / 2], 6 * page, SEED), 6 * page);
	}
	CHECK_EQ(iu_count_fds(), fds);
	CHECK_EQ(iu_count_maps(), maps);
}

static void signal_stays_away(void)
{
	sigset_t before = { 0 }, after = { 0 };
	unsigned char *p = iu_pages(1, SEED);
	struct bez_inject_info info;
	bez_inject_t token;

	iu_need(BEZ_INJECT_AUTO);
	/* SIGBUS is not caught here: one in this call would be the end */
	sigprocmask(SIG_SETMASK, NULL, &before);
	CHECK_EQ(bez_inject(p, iu_page(), BEZ_INJECT_AUTO, 0, &token), 0);
	info = iu_state(token);
	CHECK_EQ(info.poisoned, 1);
	sigprocmask(SIG_SETMASK, NULL, &after);
	CHECK(!memcmp(&before, &after, sizeof(before)));
	CHECK_EQ(waitpid(-1, NULL, __WALL), -1);
	CHECK_EQ(bez_inject_undo(token), 0);
}

static const struct tap_case cases[] = {
	{ .name = "unprivileged", .run = unprivileged },
	{ .name = "a child is apart", .run = child_is_apart },
	{ .name = "the copy is hidden", .run = copy_is_hidden },
	{ .name = "nothing leaks in 1000 rounds", .run = nothing_leaks },
	{ .name = "held by another userfaultfd", .run = held_by_another },
	{ .name = "all or nothing", .run = all_or_nothing },
	{ .name = "the caller gets no signal", .run = signal_stays_away },
};

TAP_MAIN(cases)

/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../live/live.h"

size_t unit_page(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (bz_core.page != page) {
		bz_core.page = page;
		bz_core.page_shift = (uint32_t)__builtin_ctzl(page);
	}
	return page;
}

struct bz_mm *unit_mm(void)
{
	size_t page = unit_page();
	size_t len = ((sizeof(struct bz_mm) + page - 1) & -page) +
		     (size_t)BZ_WALKS * BZ_WALK_PAGES * page;
	struct bz_mm *mm = mmap(NULL, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				-1, 0);

	CHECK(mm != MAP_FAILED);
	bz_core.claim_wait_ns = 2000000000u;
	bz_core.missing_rounds = 8;
	atomic_store(&bz_core.mm, mm);
	return mm;
}

struct bz_walk *unit_enter(struct bz_mm *mm)
{
	struct bz_walk *w = bz_walk_enter(mm, (uint32_t)bz_gettid(), NULL,
					  1000000000u);

	CHECK(w);
	return w;
}

uint32_t unit_dead(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	return (uint32_t)pid;
}

void unit_patience(unsigned int seconds)
{
	alarm(seconds * tap_patience());
}

void unit_need_poison(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_POISON };
	int fd;

	if (live_is_real())
		return;
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		tap_skip("no userfaultfd here: %s", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api))
		tap_skip("no UFFDIO_POISON here (Linux 6.6)");
	close(fd);
}

enum unit_state unit_state(const unsigned char *at, size_t index)
{
	static unsigned char copy[65536];
	size_t page = unit_page(), i;
	const unsigned char *from = at + index * page;
	struct iovec here = { copy, page }, there = { (void *)from, page };

	/* all of them as wide as the kernel takes them */
	if (syscall(SYS_process_vm_readv, (long)getpid(), &here, 1L, &there, 1L,
		    0L) != (long)page)
		return UNIT_CLOSED;
	for (i = 0; i < page; i++)
		if (copy[i] != live_byte(index * page + i, 0))
			return UNIT_WRONG;
	return UNIT_GOOD;
}

uint32_t unit_fds(void)
{
	uint32_t n = 0;
	int fd;

	for (fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* All of a file in /proc, in memory that is mapped once and for ever, so that
 * looking changes nothing. */
static char *slurp(const char *path)
{
	static char *text;
	const size_t max = 4 << 20;
	size_t have = 0;
	ssize_t r;
	int fd;

	if (!text)
		text = mmap(NULL, max, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(text != MAP_FAILED);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECKF(fd >= 0, "%s: %s", path, strerror(errno));
	while ((r = read(fd, text + have, max - 1 - have)) > 0)
		have += (size_t)r;
	close(fd);
	text[have] = '\0';
	return text;
}

uint32_t unit_maps(void)
{
	const char *s = slurp("/proc/self/maps");
	uint32_t n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

uint64_t unit_layout(void)
{
	const char *s = slurp("/proc/self/maps");

	return bez_digest(s, strlen(s));
}

int unit_flag(const void *addr, const char *flag)
{
	char *line = slurp("/proc/self/smaps"), *next;
	unsigned long start, end;
	int inside = 0;

	for (; *line; line = next) {
		next = strchr(line, '\n');
		if (!next)
			break;
		*next++ = '\0';
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (unsigned long)addr >= start &&
				 (unsigned long)addr < end;
		if (inside && !strncmp(line, "VmFlags:", 8))
			return strstr(line + 8, flag) != NULL;
	}
	return -1;
}

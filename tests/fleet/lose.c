/* SPDX-License-Identifier: MIT */
/*
 * lose SOCKET restored|gone COUNT: lose so many pages, with a copy of them or
 * without, and have the library tell bezoard. Exit status: 0 it has gone on, 77
 * pages cannot be lost here.
 */
#include <bezoar/bezoar.h>
#include <bezoar/inject.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static size_t page;

static int failed(const char *what, int r)
{
	fprintf(stderr, "lose: %s: %s\n", what, strerror(-r));
	return 1;
}

static int connected(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(to.sun_path))
		return -1;
	strcpy(to.sun_path, path);
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) ? -1 : fd;
}

static unsigned char *pages(size_t n)
{
	void *at = mmap(NULL, n * page, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : memset(at, 'b', n * page);
}

/* 1: it is there; 0: it is gone. */
static int is_there(const volatile unsigned char *at)
{
	volatile int there = 0;

	BEZ_TRY {
		there = *at == 'b';
	} BEZ_CATCH(lost) {
		there = lost->width ? 0 : -1;
	}
	return there;
}

int main(int argc, char **argv)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *at, *copy;
	struct bez_source from;
	bez_region_t region;
	bez_inject_t lost;
	int restored, r;
	size_t i, n;

	n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	if (!n) {
		fputs("usage: lose SOCKET restored|gone COUNT\n", stderr);
		return 2;
	}
	page = (size_t)sysconf(_SC_PAGESIZE);
	restored = !strcmp(argv[2], "restored");
	at = pages(n);
	copy = pages(n);
	options.record_fd = connected(argv[1]);
	if (!at || !copy || options.record_fd < 0)
		return perror("lose"), 1;
	options.flags = BEZ_START_NO_EARLY_KILL;
	r = bez_start(&options);
	if (r)
		return failed("bez_start", r);
	from = bez_source_mirror(copy);
	if (restored)
		policy.source = &from;
	else
		policy.actions[0] = BEZ_ACTION_DEGRADE;
	r = bez_region_add(at, n * page, &policy, &region);
	if (r)
		return failed("bez_region_add", r);
	for (i = 0; i < n; i++) {
		r = bez_inject(at + i * page, page, BEZ_INJECT_UFFD,
			       BEZ_INJECT_NO_UNDO, &lost);
		if (r) {
			failed("bez_inject", r);
			return 77;
		}
		if (is_there(at + i * page) != restored)
			return fputs("lose: it went another way\n", stderr), 1;
	}
	return 0;
}

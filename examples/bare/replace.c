/* SPDX-License-Identifier: MIT */
/* Replace, by hand: put the page back in the handler, run the load again. */
#include "poison.h"
#include <signal.h>

static char *data, *mirror;
static size_t size;
static int uffd;

/*
 * While just this page is registered for missing faults, another thread that
 * touches it between MADV_DONTNEED and UFFDIO_COPY waits; it never reads
 * zeros. A fault that is not ours must not be swallowed: the default action
 * and a second run of the instruction end the program where it stands.
 */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr & -size;
	struct uffdio_range range = { at, size };
	struct uffdio_register reg = { .range = range,
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_copy copy = { .dst = at, .src = (uintptr_t)mirror,
				    .len = size };
	int saved = errno;

	(void)context;
	if (at != (uintptr_t)data || ioctl(uffd, UFFDIO_REGISTER, &reg) < 0) {
		signal(sig, SIG_DFL);
		return;
	}
	if (madvise((void *)at, size, MADV_DONTNEED) < 0 ||
	    ioctl(uffd, UFFDIO_COPY, &copy) < 0 ||
	    ioctl(uffd, UFFDIO_UNREGISTER, &range) < 0)
		abort();	/* half done: nobody may read what is there */
	errno = saved;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO };

	size = sysconf(_SC_PAGESIZE);
	data = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uffd = uffd_open(0);
	if (data == MAP_FAILED || uffd < 0 || sigaction(SIGBUS, &sa, NULL) < 0)
		return perror("setting up"), 1;
	mirror = data + size;
	memset(data, 'x', size);
	memcpy(mirror, data, size);

	poison(data, size);
	if (data[0] != 'x' || memcmp(data, data + 1, size - 1) != 0)
		return puts("wrong bytes"), 1;
	printf("replaced: the page at %p is back\n", (void *)data);
	return 0;
}

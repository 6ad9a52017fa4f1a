/* SPDX-License-Identifier: MIT */
/* Memory for experiments, and how it is lost. */
#include "probe.h"
#include "report.h"

#include <bezoar/inject.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22		/* Linux 5.14 */
#endif
#ifndef EHWPOISON
#define EHWPOISON 133
#endif

#define PAGEMAP_PRESENT	(1ull << 63)
#define PAGEMAP_FRAME	((1ull << 55) - 1)

#define NEEDS_REAL	"it takes real poison: run it with --real"

size_t probe_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int probe_is_real(void)
{
	return report->real;
}

/* Never 0, and no two pages are alike. */
unsigned char probe_byte(size_t offset)
{
	return (unsigned char)(1 + (offset * 31 + offset / 4096 * 7) % 251);
}

void probe_fill(unsigned char *at, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		at[i] = probe_byte(i);
}

size_t probe_wrong(const volatile unsigned char *at, size_t len)
{
	size_t i, wrong = 0;

	for (i = 0; i < len; i++)
		wrong += at[i] != probe_byte(i);
	return wrong;
}

unsigned char *probe_pages(size_t count)
{
	size_t len = count * probe_page();
	unsigned char *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		probe_untested("mmap: %s", strerror(errno));
	madvise(at, len, MADV_NOHUGEPAGE);
	probe_fill(at, len);
	return at;
}

/* For who gives it back when we are dead. */
static void note_frame(const void *at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	unsigned int n = report->lost++;

	if (n >= report->pages || n >= PROBE_FRAMES)
		probe_broken("it would lose more pages than it has said");
	if (fd >= 0 && pread(fd, &entry, sizeof(entry),
			     (off_t)((uintptr_t)at / probe_page() *
				     sizeof(entry))) == sizeof(entry) &&
	    (entry & PAGEMAP_PRESENT))
		report->frames[n] = entry & PAGEMAP_FRAME;
	close(fd);
}

/* Does the kernel fail to read it? */
static int cannot_be_read(const void *at)
{
	int end[2], is;

	if (pipe2(end, O_CLOEXEC))
		return 0;
	is = write(end[1], at, 1) < 0 && errno == EFAULT;
	close(end[0]);
	close(end[1]);
	return is;
}

/*
 * bez_inject() has to see to it that a page has been written to, and cannot
 * before Linux 5.14. Ours have been.
 */
static int inject(void *at, size_t width, uint32_t backend)
{
	bez_inject_t token;
	int r = bez_inject(at, width, backend, BEZ_INJECT_NO_UNDO, &token);

	if (!r)
		bez_inject_forget(token);
	else if (r == -EOPNOTSUPP && backend == BEZ_INJECT_MADV)
		r = madvise(at, width, MADV_HWPOISON) ? -errno : 0;
	/* it is marked, and may be lost all the same */
	if (r == -EBUSY && cannot_be_read(at))
		r = 0;
	return r;
}

static void lose(void *at, size_t width, uint32_t backend)
{
	int r;

	if (backend != BEZ_INJECT_UFFD)
		note_frame(at);
	r = inject(at, width, backend);
	if (r && r != -EBUSY && backend != BEZ_INJECT_UFFD)
		report->lost--;
	if (r && bez_inject_available(backend))
		probe_untested("%s", bez_inject_why(backend));
	if (r)
		probe_untested("no page of it can be lost: %s", strerror(-r));
}

void probe_lose_width(void *at, size_t width)
{
	lose(at, width, report->real ? BEZ_INJECT_MADV : BEZ_INJECT_UFFD);
}

void probe_lose(void *at)
{
	probe_lose_width(at, probe_page());
}

void probe_lose_early(void *at)
{
	lose(at, probe_page(), BEZ_INJECT_HWPOISON_INJECT);
}

/* A child has the same page until one of both writes to it. */
static void lose_here(void *at)
{
	note_frame(at);
	signal(SIGBUS, SIG_DFL);
	madvise(at, probe_page(), MADV_HWPOISON);
}

void probe_lose_elsewhere(void *at)
{
	probe_ended(probe_child(lose_here, at));
	if (!madvise(at, probe_page(), MADV_POPULATE_READ) ||
	    errno != EHWPOISON)
		probe_untested("another process could not lose the page: %s",
			       strerror(errno));
}

void probe_wants_real(void)
{
	if (!report->real)
		probe_untested(NEEDS_REAL);
}

void probe_wants_early(void)
{
	probe_wants_real();
	if (bez_inject_available(BEZ_INJECT_HWPOISON_INJECT))
		probe_untested("%s",
			       bez_inject_why(BEZ_INJECT_HWPOISON_INJECT));
}
